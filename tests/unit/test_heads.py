"""A key's head is one integer: every part of it comes out as it was put in."""

import gc

from hypothesis import given
from hypothesis import strategies as st

from dkv.kv.heads import ABSENT, Heads, is_live, pack_head, read_head, revision_of, row_of
from dkv.kv.version import row_id
from dkv.limits import INT_MAX, SUB_MAX

REVISIONS = st.integers(1, INT_MAX // SUB_MAX - 1)


@given(REVISIONS, st.integers(0, SUB_MAX - 1), REVISIONS, REVISIONS)
def test_a_live_head_is_read_as_it_was_packed(
    revision: int, sub: int, created: int, count: int
) -> None:
    row = row_id(revision, sub)
    head = pack_head(row, created, count)
    assert (read_head(head), row_of(head)) == ((row, created, count), row)
    assert (is_live(head), revision_of(head)) == (True, revision)


@given(REVISIONS, st.integers(0, SUB_MAX - 1))
def test_a_deleted_key_has_a_row_and_is_at_revision_0(revision: int, sub: int) -> None:
    head = pack_head(row_id(revision, sub), 0, 0)
    assert (row_of(head), is_live(head), revision_of(head)) == (row_id(revision, sub), False, 0)


def test_a_key_never_written_is_nowhere() -> None:
    assert (read_head(ABSENT), is_live(ABSENT), revision_of(ABSENT)) == ((0, 0, 0), False, 0)


def test_the_garbage_collector_has_nothing_to_walk_through() -> None:
    """A million heads in a tracked container would be a pause at each full collection."""
    heads: Heads = {b"%d" % n: pack_head(row_id(n, 0), n, n) for n in range(1, 100)}
    assert not gc.is_tracked(heads)
