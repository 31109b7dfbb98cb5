"""Play a script from beginning to end.

Owns: the order of commands and facts, where a stanza begins, and the words of a failure. Must never
know a verb or a fact.
"""

from tests.scripts.facts import objection
from tests.scripts.language import Script, read
from tests.scripts.seeds import complaint_of
from tests.scripts.verbs import Player


class Untrue(AssertionError):
    """A fact of a script does not hold."""


def play(text: str) -> Player:
    player = Player()
    try:
        _play(player, read(text))
    finally:
        player.close()
    return player


def _play(player: Player, script: Script) -> None:
    in_facts = True
    for line in script.lines:
        try:
            if line.is_fact:
                said = _objection(player, line.text)
                if said is not None:
                    raise Untrue(said)
            else:
                if in_facts and player.stage:
                    player.stage.spoken.clear()
                player.play(line.text)
        except Exception as error:
            mark = "=" if line.is_fact else ">"
            error.add_note(f"line {line.number}: {mark} {line.text}")
            raise
        in_facts = line.is_fact


def _objection(player: Player, text: str) -> str | None:
    if text == "seed: holds":
        return complaint_of(player.seed_number, player.faults)
    said = objection(player.stage, text)
    return said and f"{said}; {player.stage.world.describe()}"
