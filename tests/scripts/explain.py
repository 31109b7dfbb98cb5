"""From a story that fails to the shortest script that fails alike.

Owns: the way there. Must never know who told the story.
"""

from collections.abc import Sequence

from tests.scripts.shrink import kind_of, shrink
from tests.scripts.steps import Step, Story, as_script, replay


def complaint(story: Story) -> str | None:
    """What is wrong with it, in words; None where nothing is."""
    try:
        replay(story)
    except Exception as error:
        return f"{type(error).__name__}: {error}".strip()
    return None


def explain(story: Story, tries_max: int = 500) -> str:
    """A script, shrunk, whose first lines say what goes wrong."""
    words = complaint(story)
    assert words is not None, "nothing is wrong with this story"
    kind = kind_of(words)

    def fails(steps: Sequence[Step]) -> bool:
        said = complaint(story._replace(steps=tuple(steps)))
        return said is not None and kind_of(said) == kind

    short = story._replace(steps=shrink(story.steps, fails, tries_max))
    said = (complaint(short) or "").splitlines()[0]
    found = f"{len(short.steps)} of {len(story.steps)} steps are left."
    return as_script(short, f"A simulation fails; {found}\n\n{said[:300]}")
