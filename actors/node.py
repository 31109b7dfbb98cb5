"""A node: everything put together, started, watched and ended.

Owns: the composition, the order of start and stop, signals, the notebook, what is said to people.
Must never know what an actor decides. The main thread waits for events; the work is on three
shells: [gateway + consensus], [log], [machine].

Start: settings and certificates, the directory's lock, the four actors from what is on the disk,
the doorkeeper, then the ports, then the shells; last the node tries its own doors. Stop: gateway
(no new work, what can be answered is), consensus, machine, log, files. A second signal ends at
once. SIGHUP reads certificates and keys again.
"""

import os
import signal
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from random import SystemRandom
from typing import TYPE_CHECKING, Any, NamedTuple

import zmq
from zmq.utils import z85

from actors.announcer import Announcer
from actors.assembly import Actors, Plan, assemble
from actors.crash import write_crash
from actors.credentials import Credentials
from actors.directory import DataDirectory
from actors.doorkeeper import Doorkeeper
from actors.doorprobe import Entrances, draw_key_pair, probe
from actors.garbage import Garbage
from actors.joining import Introduced, Joining
from actors.mailbox import Context, Mailbox, Slot
from actors.notebook import Notebook
from actors.port import CLIENT_DOMAIN, PEER_DOMAIN, ClientPort, PeerPort
from actors.shell import ANSWERS_BUDGET, MAILBOX_BUDGET, PEER_BUDGET, Desk, Shell
from actors.transport import Transport
from dkv.address import Local
from dkv.config import Settings, check_settings
from dkv.counters import Counters
from dkv.errors import DkvError, Ending, Fault
from dkv.ids import Address, Founding, parse_address
from dkv.limits import client_frame_bytes_max, peer_frame_bytes_max
from dkv.messages import Probe, Probed, Roster, Say, Stop, Stopped

if TYPE_CHECKING:
    from actors.metrics import Exposition
    from actors.monitor import Monitor

_STOP_ORDER = (Local.GATEWAY, Local.CONSENSUS, Local.MACHINE, Local.LOG)
_STOP_PATIENCE_S = 10.0
_LAST_REPLIES_S = 0.6
_LOOK_AT_CERTIFICATES_S = 6 * 3600.0
_SOCKETS_MAX = 4_096


class Failed(NamedTuple):
    """An actor raised."""

    actor: str
    batch: list[Any]
    error: BaseException


Event = Say | Stopped | Failed | Roster | Probe | Probed | int


class Node:
    """One run. `run` returns the exit code; what stops a start is raised as `DkvError`."""

    def __init__(
        self, settings: Settings, announcer: Announcer, joining: Joining | None = None
    ) -> None:
        """`joining`: how to become a member, where this node was not born as one."""
        check_settings(settings)
        self._joining = joining
        self._settings = settings
        self._announcer = announcer
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._signals = 0
        self._rng = SystemRandom()
        self._stranger = draw_key_pair()
        self._ends: dict[str, int] = {}  # when certificates end: shown by `status`
        self._garbage = Garbage()
        self._began_us = time.monotonic_ns() // 1_000
        self._monitor: Monitor | None = None
        self._exposition: Exposition | None = None

    # == start ===================================================================================
    def run(self) -> int:
        """From start to stop. The ports, the files and the lock are let go in any case."""
        self._credentials = Credentials(self._settings)
        self._ends |= self._credentials.doors.ends
        self._directory = DataDirectory(self._settings.data_dir)
        try:
            self._open_notebook()
            self._prepare()
            self._roster = self._make_roster()
            actors = self._assemble()
            self._open(actors)
            try:
                return self._live()
            finally:
                self._close()
        finally:
            self._directory.close()

    def _open_notebook(self) -> None:
        self._notebook: Notebook | None = None
        try:
            self._notebook = Notebook(self._directory.folder / "notebook.db")
        except Fault as error:
            self._say("warning", "notebook", f"{error}; addresses are not remembered")

    def _prepare(self) -> None:
        """Who the members are, and what makes the cluster; an empty disk that is to join asks."""
        settings, authority = self._settings, self._credentials.doors.authority
        self._introduced: Introduced | None = None
        self._keys: dict[str, bytes] = self._noted("keys") or {}
        self._members = self._known_members()
        self._founding = Founding(authority, settings.token, tuple(self._members))
        if self._joining is None or self._noted("joined"):
            return
        known = self._introduced = self._joining.introduce()
        if known.founding.authority != authority:
            raise Fault(Ending.NOT_JOINED, "that cluster has certificates of another authority")
        self._founding, self._keys = known.founding, known.keys
        self._members = {**known.addresses, **self._members}

    def _noted(self, what: str) -> Any:
        return self._notebook.get(what) if self._notebook else None

    def _known_members(self) -> dict[str, Address]:
        """As told; else as remembered; else this node alone. One that joined was told of itself
        alone, and the others wait to hear of its new boot: it must remember where they are."""
        noted = {n: Address(*address) for n, address in (self._noted("members") or {}).items()}
        told = self._settings.members
        if told:
            return {**noted, **told} if self._noted("joined") else told
        if noted:
            return noted
        listening = self._settings.listen_peer
        alone = Address(listening.host or "127.0.0.1", listening.port)
        return {self._settings.name: alone}

    def _note(self, **more: Any) -> None:
        if self._notebook is not None:
            members = {name: list(address) for name, address in self._members.items()}
            try:
                self._notebook.write({"members": members, **more})
            except Fault as error:
                self._say("warning", "notebook", f"{error}; addresses are not remembered")

    def _make_roster(self) -> Roster:
        doors, told = self._credentials.doors, self._introduced
        clients = {**(told.clients if told else {}), **self._settings.advertised}
        return Roster(
            tuple(
                (name, str(address), doors.keys.get(name, b""), str(clients.get(name, "")))
                for name, address in self._members.items()
            )
        )

    def _admit(self, roster: Roster) -> None:
        """The members changed, or where they are."""
        doors = self._credentials.doors
        known = {key: name for name, _peer, key, _client in roster.members if key}
        self._doorkeeper.peers = {**known, **doors.peers}
        found = {
            name: parse_address(peer)
            for name, peer, _key, _client in roster.members
            if name not in roster.gone
        }
        if found != self._members:
            self._members = found
            self._note()

    def _assemble(self) -> Actors:
        settings, secure = self._settings, self._credentials.is_secure
        plan = Plan(
            settings.name,
            self._founding,
            self._introduced.limits if self._introduced else settings.limits,
            settings.timing,
            self._roster,
            str(settings.data_dir),
            settings.joining,
            self._credentials.verify if secure else None,
            self._stranger.public.decode(),
            self._facts,
            settings.retention,
            self._credentials.certificate if secure else b"",
            self._credentials.read_member if secure else None,
            settings.policy,
            settings.slow_us,
            keys=self._keys,
        )
        folder = self._directory
        margin = folder.margin()  # first: on a full disk it gives up the reserve, to start with
        self._journal = folder.journal()
        actors = assemble(plan, self._journal, folder.witness(), margin, folder, self._rng)
        if self._joining is not None and self._introduced is not None:
            self._joining.join(actors.disk)
            self._note(joined=True, keys=self._keys)
        return actors

    def _facts(self) -> dict[str, Any]:
        """For `status`. `cpu`: microseconds of the whole process and of each shell; what is beyond
        the shells is ZeroMQ's I/O threads, where frames are encrypted. Read on a shell's thread."""
        cpu = {"process_us": time.process_time_ns() // 1_000}
        cpu |= {f"{name}_us": used for name, used in self._cpu_us().items()}
        return {
            "pid": os.getpid(),
            "secure": self._credentials.is_secure,
            "ends": self._ends,
            "up_us": time.monotonic_ns() // 1_000 - self._began_us,
            "cpu": cpu,
            "mailboxes": self._mailboxes(),
            "collector": self._garbage.facts,
        }

    def _cpu_us(self) -> dict[str, int]:
        return {shell.name: shell.cpu_us() for shell in self._shells}

    def _mailboxes(self) -> dict[str, int]:
        """How many letters wait for each actor. Posters and taker are not read at one moment."""
        waiting = {}
        for which, box in self._boxes.items():
            taken = box.taken
            posted = self._slots[which].posted + sum(s.posted(which) for s in self._shells)
            waiting[which.value] = posted - taken
        return waiting

    def _open_monitor(self, actors: Actors) -> None:
        """Only where it is asked for. The library of metrics is loaded by the first who wants them,
        on the monitor's thread: a start need not wait for it."""
        if self._settings.metrics is None:
            return
        from actors.monitor import Monitor

        def render() -> bytes:
            self._exposition = self._exposition or self._expose(actors)
            return self._exposition.text()

        self._monitor = Monitor(self._settings.metrics, render, self._events.put)

    def _expose(self, actors: Actors) -> "Exposition":
        from actors.metrics import Exposition, Sources

        consensus, gateway, journal = actors.consensus, actors.gateway, self._journal
        sources = Sources(
            self._settings.name,
            {a.name.value: a.counters for a in (gateway, consensus, actors.log, actors.machine)},
            {
                "raft": consensus.gauges,
                "gateway": gateway.gauges,
                "log": actors.log.gauges,
                "state": actors.machine.gauges,
            },
            {
                "dkv_raft_append_seconds": lambda: consensus.appends,
                "dkv_raft_commit_seconds": lambda: consensus.commits,
                "dkv_log_sync_seconds": lambda: journal.syncs,
                "dkv_state_commit_seconds": lambda: self._directory.state.commits,
            },
            gateway.outcomes,
            self._doorkeeper.counters,
            self._mailboxes,
            self._cpu_us,
            lambda: self._ends,
            self._directory.folder,
        )
        return Exposition(sources)

    def _open(self, actors: Actors) -> None:
        """Doorkeeper, mailboxes, ports, shells: nothing is bound before the doorkeeper runs."""
        context: Context = zmq.Context(io_threads=2)
        context.set(zmq.MAX_SOCKETS, _SOCKETS_MAX)
        self._context = context
        secure = self._credentials.is_secure
        self._doorkeeper = Doorkeeper(
            context,
            self._credentials.doors.peers,
            insecure=not secure,
            trial_key=z85.decode(self._stranger.public),
        )
        self._doorkeeper.start()
        self._boxes = {which: Mailbox(context, which) for which in _STOP_ORDER}
        self._quiet = Mailbox(context, Local.CONSENSUS, quiet=True)
        self._slots = {which: Slot(context, which) for which in _STOP_ORDER}
        self._ports: list[PeerPort | ClientPort] = []
        self._transports: list[Transport] = []
        self._shells: list[Shell] = []
        try:
            self._build(actors)
            self._open_monitor(actors)
        except BaseException:
            self._close()
            raise
        for shell in self._shells:
            shell.start()
        if self._monitor is not None:
            self._monitor.start()

    def _build(self, actors: Actors) -> None:
        settings, credentials = self._settings, self._credentials
        frame_max = peer_frame_bytes_max(actors.limits)
        peer_port = PeerPort(
            self._context,
            settings.listen_peer,
            PEER_DOMAIN,
            credentials.peer_keys,
            frame_max,
            actors.consensus.counters,
        )
        self._ports.append(peer_port)
        client_port = ClientPort(
            self._context,
            settings.listen_client,
            CLIENT_DOMAIN,
            credentials.server_keys,
            client_frame_bytes_max(actors.limits),
            actors.gateway.counters,
        )
        self._ports.append(client_port)
        box = self._boxes
        consensus = Desk(
            actors.consensus,
            [(peer_port, PEER_BUDGET), (box[Local.CONSENSUS], MAILBOX_BUDGET)],
            self._quiet,
        )
        gateway = Desk(
            actors.gateway, [(box[Local.GATEWAY], ANSWERS_BUDGET)], strangers=client_port
        )
        log = Desk(actors.log, [(box[Local.LOG], MAILBOX_BUDGET)])
        machine = Desk(actors.machine, [(box[Local.MACHINE], MAILBOX_BUDGET)])
        thinkers, keeper = (
            self._transport(counters, frame_max)
            for counters in (actors.consensus.counters, actors.log.counters)
        )
        self._shells += [
            self._shell("thinkers", [consensus, gateway], thinkers, client_port),
            self._shell("log", [log], keeper, None),
            self._shell("machine", [machine], None, None),
        ]

    def _transport(self, counters: Counters, frame_bytes_max: int) -> Transport:
        keys, came = self._credentials.peer_keys, self._doorkeeper.arrivals()
        name = self._settings.name
        made = Transport(self._context, name, keys, frame_bytes_max, counters, came)
        self._transports.append(made)
        return made

    def _shell(
        self, name: str, desks: list[Desk], transport: Transport | None, port: ClientPort | None
    ) -> Shell:
        return Shell(
            name,
            self._settings.name,
            self._context,
            desks,
            transport,
            port,
            self._events.put,
            lambda actor, batch, error: self._events.put(Failed(actor, batch, error)),
        )

    # == life ====================================================================================
    def _live(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        settings = self._settings
        if self._credentials.is_secure:
            self._try_doors()
        else:
            words = "no keys, no certificates: whoever reaches the ports is an admin"
            self._say("warning", "INSECURE", words)
        self._note()
        self._warn_of_ends()
        self._garbage.settle()
        watched = f", metrics at {settings.metrics}" if settings.metrics else ""
        self._say(
            "info",
            "listening",
            f"clients at {settings.listen_client}, peers at {settings.listen_peer}, "
            f"data in {settings.data_dir}{watched}",
        )
        while True:
            try:
                event = self._events.get(timeout=_LOOK_AT_CERTIFICATES_S)
            except Empty:
                self._warn_of_ends()
                continue
            if event == signal.SIGHUP:
                self._reload()
            elif isinstance(event, int):
                return self._stop()
            else:
                self._take(event)

    def _try_doors(self) -> None:
        """An actor that has ended meanwhile answers nobody: then that is what is wrong."""
        try:
            self._probe()
        except Fault:
            while not self._events.empty():
                self._take(self._events.get())
            raise

    def _probe(self) -> None:
        doors, settings = self._credentials.doors, self._settings
        assert doors.peer is not None
        assert doors.server is not None
        entrances = Entrances(
            settings.listen_peer, doors.peer.public, settings.listen_client, doors.server.public
        )
        probe(self._context, entrances, doors.peer, self._stranger)

    def _take(self, event: Event) -> None:
        """Say what is to be said; an actor that failed ends the node; members are let in and noted
        down."""
        match event:
            case Say():
                self._say(*event)
            case Probe():
                self._slots[Local.GATEWAY].post([event])
            case Probed():
                if self._monitor is not None:
                    self._monitor.checkup.hear(event)
            case Failed():
                self._fail(event)
            case Roster():
                self._admit(event)
            case _:
                pass

    def _fail(self, failed: Failed) -> None:
        if isinstance(failed.error, DkvError):
            raise failed.error
        path = write_crash(self._directory.folder, self._settings.name, *failed)
        raise Crashed(failed.actor, failed.error, path)

    def _signalled(self, number: int, _frame: Any) -> None:
        if number != signal.SIGHUP:
            self._signals += 1
            if self._signals > 1:
                os._exit(128 + number)
        self._events.put(number)

    def _reload(self) -> None:
        """New certificates and keys, without a restart; what cannot be read changes nothing."""
        try:
            self._credentials.reload()
        except DkvError as error:
            self._say("error", "reload", f"{error}; the certificates of before stay in use")
            return
        self._doorkeeper.peers = {**self._doorkeeper.peers, **self._credentials.doors.peers}
        self._ends |= self._credentials.doors.ends
        self._roster = self._make_roster()
        self._slots[Local.CONSENSUS].post([self._roster])
        self._say("info", "reload", "certificates and keys were read again")
        self._warn_of_ends()

    def _warn_of_ends(self) -> None:
        for words in self._credentials.doors.warnings(int(time.time())):
            self._say("warning", "certificate", f"{words}: see `dkvctl certs`")

    def _say(self, severity: str, reason: str, words: str, request_id: bytes = b"") -> None:
        self._announcer.say(severity, reason, words, time.time(), request_id)

    # == stop ====================================================================================
    def _stop(self) -> int:
        """One after the other, each having said that it is done."""
        self._say("info", "stopping", "no new work; once more to stop at once")
        for which in _STOP_ORDER:
            self._slots[which].post([Stop()])
            self._await(which.value)
        for shell in self._shells:
            shell.join(_STOP_PATIENCE_S)
        self._say("info", "stopped", "in order")
        return 0

    def _await(self, actor: str) -> None:
        give_up = time.monotonic() + _STOP_PATIENCE_S
        while True:
            try:
                event = self._events.get(timeout=max(give_up - time.monotonic(), 0))
            except Empty:
                raise Fault(
                    Ending.STORAGE_FAULT, f"{actor} did not stop within {_STOP_PATIENCE_S:.0f} s"
                ) from None
            if isinstance(event, Stopped) and event.actor == actor:
                return
            self._take(event)

    def _close(self) -> None:
        """Sockets, if every thread that used them has ended; a process that fails leaves them to
        the system."""
        if self._monitor is not None:
            self._monitor.close()
        if any(shell.is_alive() for shell in self._shells):
            return
        for closing in (*self._ports, *self._transports, *self._boxes.values(), self._quiet):
            closing.close()
        for slot in self._slots.values():
            slot.close()
        self._end_context()
        if self._notebook is not None:
            self._notebook.close()

    def _end_context(self) -> None:
        """Last replies leave. Not longer than that: a handshake that waits for the doorkeeper, who
        has gone, would hold the context for ever (measured), and nothing is left to lose."""
        ending = threading.Thread(target=self._context.term, name="context", daemon=True)
        ending.start()
        ending.join(_LAST_REPLIES_S)


class Crashed(Exception):
    """A bug: an actor raised what it must not. `path` holds its batch as a test to paste."""

    def __init__(self, actor: str, error: BaseException, path: Path | None) -> None:
        where = f"; its batch is in {path}" if path else ""
        super().__init__(f"the {actor} actor failed: {type(error).__name__}: {error}{where}")
