"""What `dkvctl` prints: table, json, jsonl, or the bytes as they are.

Owns: how bytes become text. A key or value comes from anybody, so nothing of it may drive the
terminal: what is not printable is escaped. Must never know where a result comes from.

In json, text is a string; bytes that are not UTF-8 are {"base64": "..."}.
"""

import json
import shutil
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.cells import cell_len, set_cell_size

FORMATS = ("table", "json", "jsonl", "raw")
_ROOM_MIN = 16  # cells that the last column of a table keeps on a narrow terminal

Record = dict[str, Any]


def counted(count: int, one: str, several: str = "") -> str:
    """`1 key`, `2 keys`; `several` where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


# -- bytes as text -------------------------------------------------------------------------------
def shown(value: bytes | str, keep: str = "") -> str:
    r"""For people: `\xNN` is a byte that is not UTF-8 or a control character, `\uNNNN` another
    character that does not print, `\\` a backslash. Characters of `keep` stay as they are."""
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(c if c in keep else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    point = ord(char)
    if char == "\\":
        return "\\\\"
    if char.isprintable():
        return char
    if 0xDC80 <= point <= 0xDCFF:
        return f"\\x{point - 0xDC00:02x}"
    if point < 0x80:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char, f"\\x{point:02x}")
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def as_json(value: Any) -> Any:
    """bytes as text where they are UTF-8, otherwise as {"base64": ...}."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": b64encode(value).decode()}
    if isinstance(value, dict):
        return {str(as_json(k)): as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    return value


def from_json(value: Any) -> bytes:
    """The way back. Raises ValueError."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and list(value) == ["base64"] and isinstance(value["base64"], str):
        return b64decode(value["base64"], validate=True)
    raise ValueError('it must be a string, or {"base64": "..."}')


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON that a terminal can show: letters as they are, what does not print as \\u escapes."""
    text = json.dumps(as_json(value), ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


# -- results -------------------------------------------------------------------------------------
def emit(form: str, record: Record, words: str) -> None:
    """One fact: `words` for people, the record for programs."""
    if form == "json":
        click.echo(json_text(record, indent=2))
    elif form == "jsonl":
        click.echo(json_text(record))
    else:
        click.echo(words)


def emit_rows(form: str, rows: Iterable[Record], columns: Sequence[str]) -> None:
    """Several. `columns` are the table's; json and jsonl have all fields, raw those columns with
    tabs between, the bytes as they are."""
    if form == "json":
        click.echo(json_text(list(rows), indent=2))
    elif form == "jsonl":
        for row in rows:
            click.echo(json_text(row))
    elif form == "raw":
        for row in rows:
            write_raw(b"\t".join(_raw(row[c]) for c in columns) + b"\n")
    else:
        Table(columns).add(list(rows))


def write_raw(data: bytes) -> None:
    sys.stdout.buffer.write(data)


def _raw(value: Any) -> bytes:
    return value if isinstance(value, bytes) else _cell(value).encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shown(value) if isinstance(value, bytes | str) else str(value)


class Table:
    """Columns in line, page after page. On a terminal the last is cut at its edge; in a pipe
    nothing is cut."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._widths = [len(c) for c in columns]
        self._begun = False

    def add(self, rows: list[Record]) -> None:
        cells = [[_cell(row[c]) for c in self._columns] for row in rows]
        for line in cells:
            self._widths = [max(w, cell_len(c)) for w, c in zip(self._widths, line, strict=True)]
        if not self._begun:
            self._begun = True
            heads = [c.upper().replace("_", " ") for c in self._columns]
            click.echo(click.style(self._line(heads), bold=True))
        for line in cells:
            click.echo(self._line(line))

    def _line(self, cells: list[str]) -> str:
        *first, last = cells
        head = "".join(
            set_cell_size(c, w) + "  " for c, w in zip(first, self._widths, strict=False)
        )
        if sys.stdout.isatty():
            room = max(shutil.get_terminal_size().columns - cell_len(head), _ROOM_MIN)
            if cell_len(last) > room:
                last = set_cell_size(last, room - 1).rstrip() + "…"
        return (head + last).rstrip()


def note(words: str) -> None:
    """To stderr: what is no result."""
    click.echo(words, err=True)
