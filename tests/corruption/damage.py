"""How the files of a data directory are damaged.

Owns: the kinds of damage, each drawn from dice. Must never know what a file is for, except where
SQLite's pages and the witness's slots begin, so that little damage is wasted on empty room.
"""

from collections.abc import Callable
from random import Random

from tests.corruption.origin import Files, Origin

PAGE_BYTES = 4096
SECTOR_BYTES = 512
_HEAD_BYTES = 24  # of a page, a WAL or a frame: where a bit means most
_SLOT_BYTES = 100
_TREE_PAGES = (b"\x02", b"\x05", b"\x0a", b"\x0d")  # what a page of a tree begins with
_CELLS_AT = 4  # how many rows are on it
_FIRST_BYTES = 10 * PAGE_BYTES


class Draw:
    """A place in the files, by dice."""

    def __init__(self, origin: Origin, dice: Random) -> None:
        self.files: Files = dict(origin.files)
        self.older, self.dice = origin.older, dice
        self.name = dice.choice([name for name in sorted(self.files) if self.files[name]])
        self.content = bytearray(self.files[self.name])

    def keep(self) -> Files:
        self.files[self.name] = bytes(self.content)
        return self.files

    def page(self, size: int = PAGE_BYTES) -> int:
        """Of the first few often: there are the schema, the small tables, the roots of trees."""
        count = max(1, len(self.content) // size)
        if self.dice.random() < 0.4:
            count = min(count, _FIRST_BYTES // size)
        return self.dice.randrange(count) * size

    def tree(self) -> int:
        """A page of rows or of an index, if this is a database."""
        starts = range(0, len(self.content), PAGE_BYTES)
        found = [at for at in starts if self.content[at + 100 * (at == 0) :][:1] in _TREE_PAGES]
        return self.dice.choice(found) if found else self.page()

    def flip(self, at: int) -> None:
        self.content[min(at, len(self.content) - 1)] ^= 1 << self.dice.randrange(8)


def _flip(draw: Draw) -> str:
    """One bit, anywhere."""
    at = draw.dice.randrange(len(draw.content))
    if draw.name == "witness":
        at = draw.page() + draw.dice.randrange(_SLOT_BYTES)
    draw.flip(at)
    return f"a bit at {at}"


def _flip_head(draw: Draw) -> str:
    """One bit where a page says what is in it."""
    at = draw.page() + draw.dice.randrange(_HEAD_BYTES)
    if draw.name.endswith("-wal"):
        at += 32 + at // PAGE_BYTES * 24
    elif at < 100 and draw.name != "witness" and draw.dice.random() < 0.7:
        at += 100
    draw.flip(at)
    return f"a bit at {at}, in a head"


def _hide(draw: Draw) -> str:
    """Rows of a page are there no more, or some are that were not."""
    at = draw.tree() + _CELLS_AT
    at += 100 * (at < PAGE_BYTES and not draw.name.endswith("-wal"))
    if at < len(draw.content):
        draw.content[at] ^= 1 << draw.dice.randrange(4)
    return f"the number of rows at {at}"


def _flip_many(draw: Draw) -> str:
    """A bit of every kilobyte."""
    for at in range(0, len(draw.content), 1024):
        draw.flip(at + draw.dice.randrange(1024))
    return "a bit of every kilobyte"


def _garble(draw: Draw) -> str:
    at, size = draw.dice.randrange(len(draw.content)), draw.dice.randint(2, 64)
    draw.content[at : at + size] = draw.dice.randbytes(len(draw.content[at : at + size]))
    return f"{size} bytes at {at}"


def _zero(draw: Draw) -> str:
    size = draw.dice.choice((SECTOR_BYTES, SECTOR_BYTES, PAGE_BYTES))
    at = draw.page(size)
    draw.content[at : at + size] = bytes(len(draw.content[at : at + size]))
    return f"zeros for {size} bytes at {at}"


def _swap(draw: Draw) -> str:
    size = draw.dice.choice((SECTOR_BYTES, PAGE_BYTES))
    a, b = draw.page(size), draw.page(size)
    one, other = draw.content[a : a + size], draw.content[b : b + size]
    draw.content[a : a + size], draw.content[b : b + size] = other[: len(one)], one[: len(other)]
    return f"{size} bytes at {a} and {b} swapped"


def _old_page(draw: Draw) -> str:
    """A write that was lost, or went elsewhere."""
    old = draw.older.get(draw.name, b"")
    size = draw.dice.choice((SECTOR_BYTES, PAGE_BYTES, PAGE_BYTES))
    at = draw.tree() if draw.dice.random() < 0.7 else draw.page(size)
    there = old[at : at + size]
    draw.content[at : at + len(there)] = there
    return f"older bytes at {at}, {len(there)} of them"


def _truncate(draw: Draw) -> str:
    edge = draw.page(SECTOR_BYTES) + draw.dice.choice((-1, 0, 0, 1))
    del draw.content[max(edge, 0) :]
    return f"cut off at {edge}"


def _extend(draw: Draw) -> str:
    draw.content += draw.dice.randbytes(draw.dice.choice((1, SECTOR_BYTES, 3 * PAGE_BYTES)))
    return "more bytes at its end"


DAMAGES: tuple[Callable[[Draw], str], ...] = (
    *[_flip] * 4,
    *[_flip_head] * 5,
    *[_hide] * 3,
    _flip_many,
    *[_garble] * 2,
    *[_zero] * 2,
    *[_swap] * 2,
    *[_old_page] * 3,
    *[_truncate] * 3,
    _extend,
)


# -- whole files -----------------------------------------------------------------------------------
def _gone(draw: Draw) -> str:
    del draw.files[draw.name]
    return f"{draw.name} is gone"


def _older(draw: Draw) -> str:
    """One file is an older copy; a database with its WAL, or without."""
    names = [draw.name]
    if draw.dice.random() < 0.5:
        stem = draw.name.removesuffix("-wal")
        names = [name for name in draw.files if name.removesuffix("-wal") == stem]
    return _replace(draw, names)


def _older_some(draw: Draw) -> str:
    """Some files, or all of them, are of an older moment."""
    return _replace(
        draw, draw.dice.sample(sorted(draw.files), draw.dice.randint(2, len(draw.files)))
    )


def _older_all(draw: Draw) -> str:
    return _replace(draw, sorted({*draw.files, *draw.older}))


def _replace(draw: Draw, names: list[str]) -> str:
    for name in names:
        draw.files.pop(name, None)
        if name in draw.older:
            draw.files[name] = draw.older[name]
    return f"{', '.join(names)}: older"


WHOLE: tuple[Callable[[Draw], str], ...] = (_gone, _older, _older, _older_some, _older_all)


def damage(origin: Origin, dice: Random) -> tuple[str, Files]:
    """What was done, in words, and the files."""
    draw = Draw(origin, dice)
    if dice.random() < 0.2:
        return dice.choice(WHOLE)(draw), draw.files
    words = f"{draw.name}: {dice.choice(DAMAGES)(draw)}"
    return words, draw.keep()
