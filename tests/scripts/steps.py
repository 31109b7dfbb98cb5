"""A world's story as data: how it begins, and timed steps. It plays, and prints itself as a script.

Owns: the one format in which any generator of misfortune records what it did; a step's words are
those of a script's command, so that a failing seed prints itself. Must never know who made a story.

    story = Story(("world 3 nodes seed=7", "loss 0.1"), (Step(1_500_000, "crash", ("n1",)), ...))
    replay(story)       raises what went wrong
    as_script(story)    the same, for people and for tests/scripts
"""

from typing import NamedTuple

from tests.scripts.facts import objection
from tests.scripts.verbs import Player

CLOSING = ("calm", "settle")


class Step(NamedTuple):
    when_us: int  # since the opening was over
    verb: str
    words: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        return " ".join((self.verb, *self.words))


class Story(NamedTuple):
    opening: tuple[str, ...]  # commands: the world, its network, its start
    steps: tuple[Step, ...]


class Broken(AssertionError):
    """What must hold in every story does not."""


def replay(story: Story) -> Player:
    """Play it; invariants are watched at every letter, the books are compared in the end."""
    player = Player()
    try:
        for command in story.opening:
            player.play(command)
        began_us = player.stage.world.now_us
        for step in sorted(story.steps, key=lambda s: s.when_us):
            player.stage.world.run(max(began_us + step.when_us - player.stage.world.now_us, 0))
            player.play(step.command)
        for command in CLOSING:
            player.play(command)
        said = objection(player.stage, "books: hold")
        if said is not None:
            raise Broken(said)
    finally:
        player.close()
    return player


def as_script(story: Story, sentence: str) -> str:
    lines = [sentence, "", *(f"> {command}" for command in story.opening)]
    now_us = 0
    for step in sorted(story.steps, key=lambda s: s.when_us):
        if step.when_us > now_us:
            lines.append(f"> run {step.when_us - now_us}us")
            now_us = step.when_us
        lines.append(f"> {step.command}")
    lines += [*(f"> {command}" for command in CLOSING), "= books: hold", ""]
    return "\n".join(lines)
