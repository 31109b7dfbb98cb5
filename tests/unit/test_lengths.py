"""A screen is the unit of reading: no function becomes longer than the longest one is."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FUNCTION_LINES_MAX = 42  # the longest one today; lower it when that one has become shorter


def _lengths() -> dict[str, int]:
    found = {}
    for folder in ("dkv", "actors", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    assert node.end_lineno is not None
                    name = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                    found[name] = node.end_lineno - node.lineno + 1
    return found


def test_no_function_is_longer_than_the_longest_was() -> None:
    lengths = _lengths()
    assert len(lengths) > 300
    assert {n: lines for n, lines in lengths.items() if lines > FUNCTION_LINES_MAX} == {}
