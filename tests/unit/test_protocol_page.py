"""The page of the wire says what the table of requests and the table of codes say."""

import re
from pathlib import Path

import pytest

from dkv.errors import RULES, Code
from dkv.requests import TABLE

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
