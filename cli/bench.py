"""`dkvctl bench`: a load on one's own cluster, how fast it was answered and what that cost.

Owns: the options and which of them make no sense, the scratch keys and their removal, the order of
a run. Must never know a request's bytes (`dkv/load` does) nor how figures are drawn (`figures`).
"""

import asyncio
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle
from random import Random
from secrets import token_hex
from typing import Any, NamedTuple

import click

from cli import figures
from cli.endings import Ended, Exit
from cli.keys import BYTES
from cli.options import Choices, SharedOptions
from cli.output import emit, note, shown
from dkv.client import AsyncClient, Client, Denied, RequestError
from dkv.client.engine import load_credentials
from dkv.errors import Misconfigured
from dkv.limits import KIB, MIB, REQUESTS_IN_FLIGHT_MAX, REQUESTS_PER_MESSAGE_MAX, SECOND
from dkv.load.connection import Draw, Load
from dkv.load.costs import Status
from dkv.load.generator import Generator, Shape, Target
from dkv.load.template import KEYS_MAX, get_body, key_of, put_body

_DRAWS = 65_536  # drawn beforehand, then from the first again: a draw costs the load too much
_STATUS_S = 2.0
_MESSAGE_BYTES_MAX = 4 * MIB  # a larger frame ends the connection
_UNDER_WAY_BYTES_MAX = 64 * MIB
_FILL_BYTES_MAX = 4096 * MIB
_FILL_OUTSTANDING = 512
_FILL_MESSAGE_BYTES = 256 * KIB
_FILL_PATIENCE_S = 10.0
_ROOM_BYTES = 1 * KIB  # what a request has beside its key and value, generously


class Plan(NamedTuple):
    """What was asked for."""

    what: str  # put, get or mixed
    clients: int
    outstanding: int
    keys: int
    value_size: int
    seconds: float
    warmup: float
    pipeline: int
    route: str
    gets: int  # of 100 operations
    session: bool

    @property
    def puts(self) -> bool:
        return self.what != "get"


@click.command(cls=SharedOptions, context_settings={"show_default": True})
@click.argument("what", type=click.Choice(("put", "get", "mixed")))
@click.option("--clients", type=click.IntRange(1, 256), default=1, help="Connections.")
@click.option(
    "--outstanding",
    type=click.IntRange(1, REQUESTS_IN_FLIGHT_MAX),
    default=64,
    help="Requests under way, on all connections together.",
)
@click.option("--keys", type=click.IntRange(1, KEYS_MAX), default=10_000, help="Different keys.")
@click.option("--value-size", type=click.IntRange(0, 16 * MIB), default=256, help="In bytes.")
@click.option("--seconds", type=click.FloatRange(0.1, 86_400), default=10.0, help="Measured.")
@click.option("--warmup", type=click.FloatRange(0, 3_600), default=1.0, help="Seconds before.")
@click.option(
    "--pipeline",
    type=click.IntRange(1, REQUESTS_PER_MESSAGE_MAX),
    default=1,
    help="Requests in one message.",
)
@click.option(
    "--route",
    type=click.Choice(("leader", "spread")),
    default="leader",
    help="Where connections go: to the leader, following it, or to all nodes in turn.",
)
@click.option(
    "--gets",
    type=click.IntRange(1, 99),
    help="Of 100 operations; mixed only, half of them if not said.",
)
@click.option(
    "--prefix",
    type=BYTES,
    default=b"bench/",
    show_default="bench/",
    help="Before the scratch keys.",
)
@click.option("--no-session", is_flag=True, help="Puts that are not protected from repetition.")
@click.option("--keep", is_flag=True, help="Leave the scratch keys.")
@click.option("--stages", is_flag=True, help="Also what each operation cost each node, by stage.")
@click.pass_obj
def bench(
    run: Choices,
    /,
    what: str,
    prefix: bytes,
    no_session: bool,
    keep: bool,
    stages: bool,
    gets: int | None,
    **plan: Any,
) -> None:
    """Put, get, or both (mixed), and say how fast it was and what it cost.

    Keys are random ones of --keys under a scratch prefix, which is removed afterwards. For get and
    mixed all of them are put first. Each connection begins an operation when another has ended;
    nothing is repeated, errors are counted. Ctrl-C ends early, with what was measured so far.
    """
    if gets is not None and what != "mixed":
        raise click.UsageError("--gets goes with mixed")
    if no_session and what == "get":
        raise click.UsageError("--no-session goes with put and mixed: gets have no session")
    share = {"put": 0, "get": 100}.get(what, 50 if gets is None else gets)
    chosen = Plan(what=what, gets=share, session=not no_session, **plan)
    _check(chosen)
    scratch = prefix + token_hex(4).encode() + b"/"
    options = run.client_options()
    work = _Bench(options, chosen, scratch)
    try:
        measured = work.run()
    finally:
        work.clean_up(keep)
    record = figures.record(chosen._asdict() | {"read_level": options["read_level"]}, measured)
    emit(run.form, record, figures.words(record, measured, stages=stages))
    _conclude(measured)


def _check(plan: Plan) -> None:
    """Refuse what could not be measured, before anything is asked."""
    if plan.outstanding < plan.clients:
        words = f"--outstanding {plan.outstanding} is less than one for each of --clients"
        raise click.UsageError(f"{words} {plan.clients}: raise the one or lower the other")
    each = plan.outstanding // plan.clients
    if plan.pipeline > each:
        words = f"a connection has {each} requests under way (--outstanding over --clients)"
        raise click.UsageError(f"--pipeline {plan.pipeline}: {words}; a message cannot hold more")
    size = plan.value_size + _ROOM_BYTES
    if plan.puts and plan.pipeline > 1 and plan.pipeline * size > _MESSAGE_BYTES_MAX:
        raise click.UsageError("--pipeline times --value-size is more than a message of 4 MiB")
    if plan.outstanding * size > _UNDER_WAY_BYTES_MAX:
        words = "--outstanding times --value-size is more than 64 MiB"
        raise click.UsageError(f"{words}: that would measure memory")
    if plan.what != "put" and plan.keys * size > _FILL_BYTES_MAX:
        raise click.UsageError("--keys times --value-size is more than 4 GiB to put first")


def _conclude(measured: figures.Measured) -> None:
    """After the figures: why the run ended before its time, if it did."""
    result = measured.result
    if result.fatal is not None:
        raise result.fatal
    if measured.interrupted:
        raise Ended("interrupted: the figures are of the time before", Exit.INTERRUPTED)
    if not result.puts.count + result.gets.count:
        why = result.why_not or "see the errors above"
        raise Ended(f"nothing was done within the measured time: {why}", Exit.UNAVAILABLE)


# -- the run -------------------------------------------------------------------------------------
class _Bench:
    def __init__(self, options: dict[str, Any], plan: Plan, scratch: bytes) -> None:
        self._options, self._plan, self._scratch = options, plan, scratch
        self._rng = Random()
        self._touched = False
        self._interrupted = False

    def run(self) -> figures.Measured:
        """Look at the cluster, fill, measure between two statuses of each node."""
        plan = self._plan
        target = self._prepare()
        if plan.what != "put":
            note(f"putting {plan.keys:,} keys under {shown(self._scratch)} ...")
            self._fill(target)
        before = self._ask_all(target)
        note(f"measuring {plan.seconds:g} s after {plan.warmup:g} s of warm-up ...")
        shape = Shape(plan.clients, plan.outstanding, plan.puts and plan.session)
        generator = Generator(target, shape, self._load())
        with self._interruptible(generator):
            result = generator.run(plan.warmup, plan.seconds)
        after = self._ask_all(target)
        return figures.Measured(result, before, after, self._interrupted)

    def _ask_all(self, target: Target) -> dict[str, Status]:
        found = asyncio.run(_statuses(self._options, target.addresses.values()))
        return {name: status for name, (_address, status) in found.items()}

    def _prepare(self) -> Target:
        """Who is there, who leads, and whether this client may write: a first put says it."""
        with Client(**self._options) as kv:
            known = kv.members()
            self._check_limits(known["limits"])
            self._touched = True
            kv.put(self._scratch + b"first", b"")
            leader = kv.members()["leader"]
        named = list(self._options["endpoints"])
        if not self._options["pin"]:
            named += [m["client_address"] for m in known["members"] if m["client_address"]]
        found = asyncio.run(_statuses(self._options, dict.fromkeys(named)))
        if not found:
            raise Ended("no node said how it is: see dkvctl status", Exit.UNAVAILABLE)
        addresses = {name: address for name, (address, _status) in found.items()}
        if self._plan.route == "leader" and leader not in addresses:
            who = f"the leader, {leader}," if leader else "a leader"
            raise Ended(
                f"no client address of {who} is known: name it with --endpoint, or use "
                "--route spread",
                Exit.UNAVAILABLE,
            )
        credentials, certificate = load_credentials(
            self._options.get("cert"),
            self._options.get("key"),
            self._options.get("cacert"),
            bool(self._options.get("insecure")),
            self._options.get("passphrase"),
        )
        chosen = leader if self._plan.route == "leader" else ""
        return Target(addresses, chosen, credentials, certificate)

    def _check_limits(self, limits: dict[str, int]) -> None:
        for what, size, name in (
            ("a key", len(self._key(0)), "key_bytes_max"),
            ("a value", self._plan.value_size, "value_bytes_max"),
        ):
            if size > limits[name]:
                raise Misconfigured(f"{what} of {size} bytes: this cluster takes {limits[name]}")

    def _key(self, number: int) -> bytes:
        return key_of(self._scratch, number)

    def _load(self) -> Load:
        """Keys drawn evenly, gets and puts as they were asked for."""
        plan, rng = self._plan, self._rng
        numbers = rng.choices(range(plan.keys), k=_DRAWS)
        draws = cycle([(rng.random() * 100 >= plan.gets, self._key(n)) for n in numbers])
        return self._load_of(draws.__next__, lambda _draw: None, plan.pipeline)

    def _fill(self, target: Target) -> None:
        """Each key once; what was refused comes again."""
        plan = self._plan
        waiting: deque[Draw] = deque()
        numbers = iter(range(plan.keys))

        def draw() -> Draw | None:
            if waiting:
                return waiting.popleft()
            number = next(numbers, None)
            return None if number is None else (True, self._key(number))

        at_once = max(_FILL_MESSAGE_BYTES // (plan.value_size + _ROOM_BYTES), 1)
        outstanding = min(_FILL_OUTSTANDING, 8 * at_once)
        load = self._load_of(draw, waiting.append, min(at_once, 32))
        generator = Generator(target, Shape(1, outstanding, plan.session), load)
        with self._interruptible(generator):
            filled = generator.run_out(plan.keys, int(_FILL_PATIENCE_S * SECOND))
        if filled.fatal is not None:
            raise filled.fatal
        if self._interrupted:
            raise KeyboardInterrupt

    def _load_of(
        self,
        draw: Callable[[], Draw | None],
        give_back: Callable[[Draw], None],
        pipeline: int,
    ) -> Load:
        plan, key = self._plan, self._key(0)
        ttl_ms = max(int(self._options["timeout"] * 1_000), 1)
        value = self._rng.randbytes(plan.value_size)
        put = put_body(key, value, ttl_ms, in_session=plan.session)
        get = get_body(key, ttl_ms, self._options["read_level"])
        return Load(draw, give_back, put, get, plan.value_size, pipeline, ttl_ms * 1_000)

    @contextmanager
    def _interruptible(self, generator: Generator) -> Iterator[None]:
        """Ctrl-C ends the load, not the program."""

        def end(_number: int, _frame: Any) -> None:
            self._interrupted = True
            generator.stop()

        before = signal.signal(signal.SIGINT, end)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def clean_up(self, keep: bool) -> None:
        if not self._touched:
            return
        if keep:
            note(f"the keys under {shown(self._scratch)} were left")
            return
        try:
            with Client(**self._options) as kv:
                kv.delete_prefix(self._scratch)
        except Denied:  # then nothing was written
            return
        except RequestError as error:
            note(f"warning: keys under {shown(self._scratch)} were left behind: {error}")


# -- asking --------------------------------------------------------------------------------------
async def _statuses(
    options: dict[str, Any], addresses: Iterable[str]
) -> dict[str, tuple[str, Status]]:
    """(address, status) by name, of the nodes that answer."""
    found = await asyncio.gather(*(_status(a, options) for a in addresses))
    return {s["node"]["name"]: (address, s) for address, s in found if s}


async def _status(address: str, options: dict[str, Any]) -> tuple[str, Status | None]:
    timeout = min(options["timeout"], _STATUS_S)
    alone = {**options, "endpoints": [address], "pin": True, "timeout": timeout}
    async with AsyncClient(**alone) as kv:
        try:
            return address, await kv.status(0)
        except Denied:
            raise
        except RequestError:
            return address, None
