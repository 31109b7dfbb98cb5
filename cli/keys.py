"""`dkvctl put`, `get`, `delete`, `list`.

Owns: their arguments and what they print. Must never know how a request travels.
"""

import os
import sys
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from cli.endings import Ended, Exit
from cli.options import Choices, SharedOptions
from cli.output import Record, Table, counted, emit, json_text, note, shown, write_raw
from dkv.client import Client, Item, Page, Uncertain
from dkv.errors import RequestError
from dkv.limits import LIST_LIMIT_DEFAULT, MIB
from dkv.requests import end_of_prefix

_VALUE_BYTES_MAX = 16 * MIB  # no cluster may be made with a larger limit
_ALWAYS_FITS = MIB // 2  # a value below this is sent without asking for the cluster's limits


class Bytes(click.ParamType[bytes]):
    """An argument as the bytes it was typed in."""

    name = "text"

    def __init__(self, least: int = 0) -> None:
        self._least = least

    def convert(self, value: Any, param: Any, ctx: Any) -> bytes:
        typed = value if isinstance(value, bytes) else os.fsencode(value)
        if len(typed) < self._least:
            self.fail("it is empty", param, ctx)
        return typed


BYTES = Bytes()
KEY = Bytes(least=1)
_IF_REVISION = click.option(
    "--if-revision",
    type=click.IntRange(1),
    metavar="N",
    help="Only if the key's revision is N (as `get -o json` says).",
)


# -- put -----------------------------------------------------------------------------------------
@click.command(cls=SharedOptions)
@click.argument("key", type=KEY)
@click.argument("value", type=BYTES, required=False)
@click.option("--file", "path", type=click.Path(path_type=Path), help="The value is in this file.")
@_IF_REVISION
@click.option("--if-absent", is_flag=True, help="Only if the key does not exist.")
@click.pass_obj
def put(
    run: Choices,
    key: bytes,
    value: bytes | None,
    path: Path | None,
    if_revision: int | None,
    if_absent: bool,
) -> None:
    """Set KEY to VALUE.

    With - for VALUE it is read from standard input, to the last byte. A VALUE that begins with a
    dash goes behind two: dkvctl put KEY -- -1
    """
    if if_absent and if_revision is not None:
        raise click.UsageError("--if-absent excludes --if-revision")
    expected = 0 if if_absent else if_revision
    whole = _value(value, path)
    with run.client() as kv:
        if len(whole) > _ALWAYS_FITS:
            _check_size(kv, whole)
        done = kv.put(key, whole, expected=expected)
    record = {"key": key, "revision": done.key_revision, "node": done.node}
    emit(run.form, record, f"{shown(key)}  revision {done.key_revision}")


def _value(value: bytes | None, path: Path | None) -> bytes:
    if (value is None) == (path is None):
        raise click.UsageError("give the value once: VALUE, - for standard input, or --file PATH")
    if path is None:
        assert value is not None
        return _read_all(sys.stdin.buffer, "standard input") if value == b"-" else value
    try:
        with path.open("rb") as file:
            return _read_all(file, f"--file {path}")
    except OSError as error:
        raise Ended(f"--file {path}: {error.strerror}", Exit.USAGE) from None


def _read_all(file: IO[bytes], name: str) -> bytes:
    """To the end, unless it is longer than any cluster allows."""
    value = file.read(_VALUE_BYTES_MAX + 1)
    if len(value) > _VALUE_BYTES_MAX:
        words = f"{name} has more than {_VALUE_BYTES_MAX} bytes, which no cluster allows"
        raise Ended(f"{words}: split it", Exit.USAGE)
    return value


def _check_size(kv: Client, value: bytes) -> None:
    """Beyond the limit a node would end the connection; here it is said before."""
    largest = kv.members()["limits"]["value_bytes_max"]
    if len(value) > largest:
        words = f"the value has {len(value)} bytes, and this cluster's limit is {largest}"
        raise Ended(f"{words}: split it, or raise the limit at the cluster's creation", Exit.USAGE)


# -- get -----------------------------------------------------------------------------------------
@click.command(cls=SharedOptions)
@click.argument("key", type=KEY)
@click.pass_obj
def get(run: Choices, key: bytes) -> None:
    """Print the value of KEY.

    On a terminal what does not print is escaped; into a file or a pipe go the bytes as they are.
    -o json also says revision, version, author and time.
    """
    with run.client() as kv:
        item = kv.get(key)
    if item is None:
        raise Ended(f"{shown(key)}: there is no such key", Exit.NOT_FOUND)
    assert item.value is not None
    if run.form == "raw" or (run.output is None and not sys.stdout.isatty()):
        write_raw(item.value)
    else:
        words = shown(item.value, keep="\n\t\\")
        emit(run.form, _record(item) | {"author": item.author, "wall": item.wall}, words)


# -- delete --------------------------------------------------------------------------------------
@click.command(cls=SharedOptions)
@click.argument("key", type=BYTES)
@_IF_REVISION
@click.option("--prefix", is_flag=True, help="Delete all keys that begin with KEY; asks first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(run: Choices, key: bytes, if_revision: int | None, prefix: bool, yes: bool) -> None:
    """Delete KEY, or with --prefix all keys that begin with it."""
    if prefix and if_revision is not None:
        raise click.UsageError("--prefix excludes --if-revision")
    if not key and not prefix:
        raise click.UsageError("KEY is empty; for all keys add --prefix")
    if yes and not prefix:
        raise click.UsageError("--yes goes with --prefix; one key is deleted without asking")
    with run.client() as kv:
        if prefix:
            count = _delete_prefix(kv, key, yes)
        else:
            count = kv.delete(key, expected=if_revision).count
    if not count and not prefix:
        raise Ended(f"{shown(key)}: there is no such key", Exit.NOT_FOUND)
    emit(run.form, {"deleted": count}, f"deleted {count:,}" if prefix else f"{shown(key)}  deleted")


def _delete_prefix(kv: Client, prefix: bytes, yes: bool) -> int:
    if not yes:
        _ask(kv.count(prefix), prefix)
    gone, more = 0, True
    while more:
        try:
            step = kv.delete_range(prefix, end_of_prefix(prefix))
        except RequestError as error:
            if not gone:
                raise
            ending = Exit.UNKNOWN if isinstance(error, Uncertain) else Exit.UNMET
            raise Ended(f"Deleted {counted(gone, 'key')}, then: {error}", ending) from None
        gone, more = gone + step.count, step.more
    return gone


def _ask(count: int, prefix: bytes) -> None:
    if not count:
        return
    which = f"that begin with {shown(prefix)}" if prefix else "there are in the cluster"
    words = f"Delete {counted(count, 'key')}, all {which}?"
    if not sys.stdin.isatty():
        raise Ended(f"{words} Nobody is there to answer: give --yes", Exit.USAGE)
    if not click.confirm(words, err=True):
        raise Ended("nothing was deleted", Exit.UNMET)


# -- list ----------------------------------------------------------------------------------------
@click.command(name="list", cls=SharedOptions)
@click.argument("prefix", type=BYTES, required=False)
@click.option("--from", "start", type=BYTES, metavar="KEY", help="A range: keys from this on.")
@click.option("--to", "end", type=BYTES, metavar="KEY", help="A range: keys before this.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many keys.")
@click.option("--token", metavar="TOKEN", help="Go on where a list with --limit ended.")
@click.option("--keys-only", is_flag=True, help="No values.")
@click.option("--count-only", is_flag=True, help="Only how many.")
@click.pass_obj
def list_keys(run: Choices, /, prefix: bytes | None, count_only: bool, **options: Any) -> None:
    """List keys in order: all, those that begin with PREFIX, or a range.

    The list is as of one moment, however long it takes. Where --limit ends it, the token with which
    it goes on is said (on stderr; in json as `token`).
    """
    if prefix is not None and (options["start"] or options["end"]):
        raise click.UsageError("PREFIX excludes --from and --to")
    if options["end"] and options["end"] <= (options["start"] or b""):
        raise click.UsageError("--to must be beyond --from")
    area = (
        {"prefix": prefix or b""}
        if not (options["start"] or options["end"])
        else {
            "start": options["start"],
            "end": options["end"],
        }
    )
    with run.client() as kv:
        if count_only:
            count = kv.count(**area)
            emit(run.form, {"count": count}, str(count))
            return
        pages = _pages(kv, {**area, "keys_only": options["keys_only"]}, options)
        token = _PRINTERS[run.form](pages, options["keys_only"])
    if token and run.form != "json":
        note(f"there are more keys: --token {token}")


def _pages(kv: Client, ask: dict[str, Any], options: dict[str, Any]) -> Iterator[Page]:
    """Pages until the range or the limit ends."""
    left, token = options["limit"], _read_token(options["token"])
    while True:
        limit = LIST_LIMIT_DEFAULT if left is None else min(left, LIST_LIMIT_DEFAULT)
        page = kv.page(**ask, limit=limit, token=token)
        yield page
        token = page.token
        if left is not None:
            left -= len(page.items)
        if not token or left == 0:
            return


def _read_token(text: str | None) -> bytes:
    try:
        return b64decode(text or "", altchars=b"-_", validate=True)
    except ValueError:
        raise click.UsageError("--token: that is not one that a list has said") from None


def _token_text(page: Page) -> str:
    return urlsafe_b64encode(page.token).decode()


def _record(item: Item, keys_only: bool = False) -> Record:
    fields = {"key": item.key, "revision": item.key_revision, "created": item.created}
    fields |= {"version": item.version}
    return fields if keys_only else fields | {"value": item.value}


def _print_table(pages: Iterator[Page], keys_only: bool) -> str:
    table, token = Table(("key", "revision", *(() if keys_only else ("value",)))), ""
    for page in pages:
        table.add([_record(i, keys_only) for i in page.items])
        token = _token_text(page)
    return token


def _print_json(pages: Iterator[Page], keys_only: bool) -> str:
    items: list[Record] = []
    token, revision = "", 0
    for page in pages:
        items += [_record(i, keys_only) for i in page.items]
        token, revision = _token_text(page), page.revision
    document = {"items": items, "count": len(items), "revision": revision, "token": token or None}
    click.echo(json_text(document, indent=2))
    return token


def _print_jsonl(pages: Iterator[Page], keys_only: bool) -> str:
    token = ""
    for page in pages:
        for item in page.items:
            click.echo(json_text(_record(item, keys_only)))
        token = _token_text(page)
    return token


def _print_raw(pages: Iterator[Page], keys_only: bool) -> str:
    token = ""
    for page in pages:
        for item in page.items:
            write_raw(item.key + (b"\n" if keys_only else b"\t" + (item.value or b"") + b"\n"))
        token = _token_text(page)
    return token


_PRINTERS = {
    "table": _print_table,
    "json": _print_json,
    "jsonl": _print_jsonl,
    "raw": _print_raw,
}
