"""The page of the wire says what the table of requests and the table of codes say."""

import json
import re
from pathlib import Path

import pytest

from dkv.conformance.rules import ADVISED, CLIENT, SERVER
from dkv.errors import RULES, Code
from dkv.limits import INT_MAX, MIB, ClusterLimits
from dkv.requests import HEADER, TABLE, Field, Header

CODES = [code for code in Code if code not in (Code.OK, Code.LOST)]  # LOST is a client's own
PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def row(name: str) -> list[str]:
    """The cells of the table row that begins with this name; the name before."""
    found = re.findall(rf"^\| `{name}` \| (.*) \|$", PAGE, re.MULTILINE)
    assert found, f"docs/protocol.md has no row for {name}"
    return [cell.strip() for cell in re.split(r" \| ", found[0])]


@pytest.mark.parametrize("op", TABLE)
def test_each_request_has_a_row_and_all_its_fields_are_named(op: str) -> None:
    request, cells = TABLE[op], " ".join(row(op))
    names = {f.name for f in request.fields} | {name for name, _words in request.returns}
    assert [n for n in sorted(names) if f"`{n}`" not in PAGE] == []
    if request.edge in ("here", "lead"):
        role = "node" if request.nodes else request.role.name.lower()
        assert cells.startswith(role)
    if request.edge == "lead":
        assert [f.name for f in request.fields if f"`{f.name}`" not in cells] == []


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_each_code_has_a_row_with_what_a_retry_may_do(code: Code) -> None:
    cells = row(code.name.lower())
    assert cells[1] == RULES[code].retry


# -- types, limits, defaults ---------------------------------------------------------------------
TYPES = {bytes: "bin", int: "int", str: "str", bool: "bool"}


@pytest.mark.parametrize("name", HEADER)
def test_each_field_around_a_command_has_its_type_limit_and_default(name: str) -> None:
    kind, largest = HEADER[name]
    line = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    _name, said_type, limit, default, _meaning = (cell.strip() for cell in line[2:-2].split(" |"))
    assert said_type == TYPES[kind]
    if kind is int:
        shown = "2^63-1" if largest == INT_MAX else f"{largest:,}"
        assert limit == shown
    if name == "command":
        assert default == "required"
    else:
        value = Header._field_defaults[name]
        shown = f'`"{value}"`' if kind is str else f"{value:,}" if kind is int else f"{value}"
        assert default == shown.lower()


RANGE = ("prefix", "start", "end")  # they have a paragraph of their own
FIELDS = [
    pytest.param(op, field, id=f"{op} {field.name}")
    for op, request in TABLE.items()
    for field in request.fields
    if field.name not in RANGE or op == "space"
]


@pytest.mark.parametrize(("op", "field"), FIELDS)
def test_each_field_of_a_request_has_its_type(op: str, field: Field) -> None:
    """With whatever else shares its type: "`a`, `b` int" or "`a` bin, up to 16"."""
    cells = " ".join(row(op))
    found = re.search(rf"`{field.name}`(?:, `\w+`)* (bin|int|str|bool)", cells)
    shared = re.search(rf"`{field.name}` · ", cells)  # as `keys_only` bool says it
    assert found or shared, f"{op} does not say what {field.name} is"
    if found:
        assert found[1] == TYPES[field.type] or field.type is bool
    if field.required:
        assert re.search(rf"`{field.name}` \w+, required", cells), "it is required"


# -- the rules -----------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", [*CLIENT, *SERVER])
def test_each_rule_of_the_kit_stands_on_the_page(rule: str) -> None:
    words = {**CLIENT, **SERVER}[rule]
    should = " (SHOULD)" if rule in ADVISED else ""
    assert PAGE.count(f"\n| {rule} | {words}{should} |\n") == 1


def test_a_rule_that_is_named_in_the_text_exists() -> None:
    named = set(re.findall(r"\b([CS]\d{1,2})\b", PAGE))
    assert named == {*CLIENT, *SERVER}


def test_each_limit_is_what_it_is() -> None:
    limits = ClusterLimits()
    shown = {
        "key_bytes_max": f"{limits.key_bytes_max:,}",
        "value_bytes_max": f"{limits.value_bytes_max // MIB} MiB",
        "request_bytes_max": f"{limits.request_bytes_max / MIB} MiB",
        "session_ttl_ms": f"{limits.session_ttl_ms:,}",
        "note_entries": f"{limits.note_entries:,}",
    }
    assert {name: row(name)[0] for name in shown} == shown


# -- the examples --------------------------------------------------------------------------------
def test_the_transcripts_that_are_golden_vectors_are_them() -> None:
    """Those of section 11 that stand there in full."""
    kept = {
        frame
        for file in (Path(__file__).parents[2] / "docs" / "vectors").glob("*.json")
        for vector in json.loads(file.read_text())
        for frame in vector["frames"]
    }
    golden = PAGE.partition("The rest of these are golden vectors")[2].partition("## 12")[0]
    blocks = re.findall(r"^    [→←] ([0-9a-f]+(?:\n      [0-9a-f]+)*)$", golden, re.MULTILINE)
    frames = ["".join(block.split()) for block in blocks]
    assert len(frames) >= 15
    assert set(frames) <= kept
