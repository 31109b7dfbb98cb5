"""How a script is written: prose, commands and facts, told apart by how a line begins.

    A sentence that says what the script shows. A picture where it helps.

    > crash n1                  a command: a verb and its words
    = n2: leader, term 2        a fact that must hold now

Every other line is prose. A stanza is commands followed by facts; letters are remembered from the
beginning of the stanza. Owns: lines. Must never know what a command does or what a fact means.
"""

from typing import NamedTuple


class Line(NamedTuple):
    number: int
    is_fact: bool
    text: str


class Script(NamedTuple):
    sentence: str
    lines: tuple[Line, ...]


def read(text: str) -> Script:
    sentence, _end, _rest = text.partition("\n")
    assert sentence.endswith("."), "a script begins with a sentence that says what it shows"
    found = tuple(
        Line(number, line[0] == "=", line[2:].strip())
        for number, line in enumerate(text.splitlines(), 1)
        if line.startswith(("> ", "= "))
    )
    assert any(line.is_fact for line in found), "a script without a fact shows nothing"
    return Script(sentence, found)


def microseconds(word: str) -> int:
    """`500ms`, `2s`, `30us`."""
    for unit, size in (("us", 1), ("ms", 1_000), ("s", 1_000_000)):
        number = word.removesuffix(unit)
        if number != word and number.lstrip("-").isdigit():
            return int(number) * size
    raise ValueError(f"{word!r} is no time: write 30us, 500ms or 2s")
