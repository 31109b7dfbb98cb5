"""A failing story shrinks, prints itself as a script, and the script fails alike."""

import pytest

from tests.mutants import living
from tests.mutants.catalogue import BY_NAME
from tests.mutants.storm import Storm
from tests.scripts.explain import complaint, explain
from tests.scripts.language import read
from tests.scripts.play import play
from tests.scripts.seeds import explain_seed, script_of
from tests.scripts.shrink import kind_of, shrink
from tests.scripts.steps import Step, Story, as_script, replay
from tests.scripts.verbs import Player
from tests.sim import draw


def test_what_is_left_fails_and_nothing_of_it_can_be_left_out() -> None:
    asked = []

    def fails(steps: object) -> bool:
        asked.append(steps)
        return {17, 40, 41} <= set(steps)  # type: ignore[call-overload]

    assert shrink(range(100), fails) == (17, 40, 41)
    assert len(asked) < 200


def test_nothing_is_left_of_what_fails_without_any_step() -> None:
    assert shrink(range(10), lambda _steps: True) == ()


STORY = Story(
    ("world 3 nodes seed=3", "start", "until serving"),
    (
        Step(0, "open", ("n1", "as", "s0")),
        Step(90_000, "put", ("n1", "k", "v1", "session", "s0", "1")),
        Step(150_000, "put", ("n2", "k", "v2", "session", "s0", "2")),
        Step(200_000, "crash", ("n3",)),
        Step(250_000, "pause", ("n2",)),
        Step(300_000, "resume"),
        Step(400_000, "put", ("n2", "k", "v1", "session", "s0", "1", "retry")),
        Step(450_000, "start"),
    ),
)


def test_a_story_and_its_script_are_the_same_world() -> None:
    text = as_script(STORY, "A client tries again.")
    assert play(text).stage.world.trace == replay(STORY).stage.world.trace
    other = STORY._replace(steps=STORY.steps[:-2])
    assert replay(other).stage.world.trace != replay(STORY).stage.world.trace


def test_a_failing_story_is_explained_by_a_short_script_that_fails_alike() -> None:
    assert complaint(STORY) is None
    with living(BY_NAME["last_answer_only"]):
        words = complaint(STORY)
        assert words is not None
        text = explain(STORY)
        with pytest.raises(AssertionError, match="executed 2 times"):
            play(text)
    assert "4 of 8 steps are left" in text
    assert "executed 2 times" in text.splitlines()[2]
    assert "> crash" not in text
    play(text)  # without the bug it holds


def test_complaints_are_of_one_kind_whatever_the_numbers() -> None:
    assert kind_of("Broken: b'v7' was executed 2 times: [1]") == kind_of(
        "Broken: b'v19' was executed 3 times: [4, 5]"
    )
    assert kind_of("n1 ended: x") != kind_of("n2: match of n1 fell")


def test_a_seed_of_a_storm_is_always_the_same_story() -> None:
    profile = BY_NAME["two_votes_a_term"].profile
    assert Storm(profile, 5).story() == Storm(profile, 5).story()
    assert Storm(profile, 5).story() != Storm(profile, 6).story()


# -- seeds of the simulator ----------------------------------------------------------------------
def test_a_seed_and_its_script_have_the_same_faults() -> None:
    plan = draw(7)
    text = script_of(7, plan.steps, "All of seed 7.")
    player = Player()
    for line in read(text).lines[:-1]:
        player.play(line.text)
    assert (player.seed_number, tuple(player.faults)) == (7, plan.steps)


def test_a_failing_seed_prints_itself_as_a_script_without_what_does_not_matter() -> None:
    with living(BY_NAME["applied_before_saved"]):
        text = explain_seed(7, tries_max=8)
        with pytest.raises(AssertionError, match="has not saved"):
            play(text)
    assert text.startswith("Seed 7 fails; 0 of ")
    play(text)
