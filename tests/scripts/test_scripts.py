"""Every script here holds, from its first line to its last."""

from pathlib import Path

import pytest

from tests.scripts.play import Untrue, play

SCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_script_holds(script: Path) -> None:
    play(script.read_text())


def test_a_fact_that_does_not_hold_is_told_with_its_line() -> None:
    text = "Two nodes cannot both lead.\n> world 2 nodes\n> start\n> until serving\n= all: leader"
    with pytest.raises(Untrue, match="is follower") as failure:
        play(text)
    assert failure.value.__notes__ == ["line 5: = all: leader"]


@pytest.mark.parametrize("text", ["> world 2 nodes\n= all: down", "It shows nothing.\n> start"])
def test_a_script_has_a_sentence_and_a_fact(text: str) -> None:
    with pytest.raises(AssertionError, match="a script"):
        play(text)
