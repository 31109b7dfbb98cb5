"""Play a script from beginning to end.

Owns: the order of commands and facts, where a stanza begins, and the words of a failure. Must never
know a verb or a fact.
"""

from tests.scripts.facts import objection
from tests.scripts.language import Script, read
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
                said = objection(player.stage, line.text)
                if said is not None:
                    raise Untrue(f"{said}; {player.stage.world.describe()}")
            else:
                if in_facts and player.stage:
                    player.stage.spoken.clear()
                player.play(line.text)
        except Exception as error:
            mark = "=" if line.is_fact else ">"
            error.add_note(f"line {line.number}: {mark} {line.text}")
            raise
        in_facts = line.is_fact
