"""Every letter: a tag of its own, and the same letter again after its way through bytes."""

import types
from typing import Any, get_args, get_origin, get_type_hints

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkv import messages
from dkv.codec import TAGS, Garbled, decode, encode, seal, unseal
from dkv.ids import CLUSTER_ID_BYTES
from dkv.limits import CHECK_BYTES, INT_MAX
from dkv.messages import CATALOGUE, FROM_PEERS, LETTER_VERSION, Append, Envelope, Voted

LETTERS = sorted(CATALOGUE.values(), key=lambda letter: TAGS[letter])
SEALED: list[Any] = sorted(FROM_PEERS, key=lambda letter: TAGS[letter])
ENVELOPE = Envelope(bytes(CLUSTER_ID_BYTES), bytes(CHECK_BYTES), "n1", 7, 8, 0, 0, bytes(8))
VOTE = Voted(3, True)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Anything that a field of this type may hold."""
    if hint is int:
        return st.integers(0, INT_MAX)
    if hint is bool:
        return st.booleans()
    if hint is bytes:
        return st.binary(max_size=20)
    if hint is str:
        return st.text(max_size=10)
    if get_origin(hint) is tuple:
        first, *rest = get_args(hint)
        if rest and isinstance(rest[0], types.EllipsisType):
            return st.lists(values(first), max_size=3).map(tuple)
        return st.tuples(*map(values, (first, *rest)))
    return st.tuples(*map(values, get_type_hints(hint).values())).map(lambda v: hint(*v))


def test_every_letter_of_the_catalogue_file_has_a_tag_of_its_own() -> None:
    written = {
        kind
        for kind in vars(messages).values()
        if isinstance(kind, type) and kind.__module__ == messages.__name__
    }
    assert written - {Envelope} == set(CATALOGUE.values())
    assert len(TAGS) == len(CATALOGUE)


@pytest.mark.parametrize("letter", LETTERS, ids=lambda letter: letter.__name__)
def test_a_letter_survives_its_way_between_actors(letter: type) -> None:
    @settings(max_examples=25)
    @given(st.lists(values(letter), min_size=1, max_size=2))
    def check(sent: list[Any]) -> None:
        received = decode(encode(sent))
        assert repr(received) == repr(sent)  # equal, and of the same types throughout

    check()


@pytest.mark.parametrize("letter", SEALED, ids=lambda letter: letter.__name__)
def test_a_letter_survives_its_way_between_nodes(letter: type) -> None:
    @settings(max_examples=25)
    @given(values(letter))
    def check(sent: Any) -> None:
        envelope, received = unseal(seal(ENVELOPE, [sent, VOTE]))
        assert envelope == ENVELOPE
        assert repr(received) == repr([sent, VOTE])

    check()


@pytest.mark.parametrize("letter", SEALED, ids=lambda letter: letter.__name__)
def test_a_field_of_another_type_is_refused(letter: type) -> None:
    wrong: tuple[Any, ...] = (None, -1, 1.0, 2**63, {}, ("x", 0.5))

    @settings(max_examples=25)
    @given(values(letter), st.data())
    def check(sent: Any, data: st.DataObject) -> None:
        if not sent:
            return
        place = data.draw(st.integers(0, len(sent) - 1))
        fields = list(sent)
        fields[place] = data.draw(st.sampled_from(wrong))
        with pytest.raises(Garbled, match="peer_letter_malformed"):
            unseal(msgpack.packb((LETTER_VERSION, ENVELOPE, [(TAGS[letter], *fields)])))

    check()


@pytest.mark.parametrize("letter", [x for x in LETTERS if x not in FROM_PEERS])
def test_a_letter_of_the_inside_does_not_come_from_a_peer(letter: type) -> None:
    with pytest.raises(Garbled, match="peer_letter_unknown"):
        unseal(msgpack.packb((LETTER_VERSION, ENVELOPE, [(TAGS[letter],)])))


@pytest.mark.parametrize("more", [(), (1,), (1, 2), (1, 2, 3)])
def test_a_letter_without_a_field_that_has_no_default_is_refused(more: tuple[int, ...]) -> None:
    with pytest.raises(Garbled, match="peer_letter_malformed"):
        unseal(msgpack.packb((LETTER_VERSION, ENVELOPE, [(TAGS[Voted], *more)])))


@pytest.mark.parametrize("letter", SEALED, ids=lambda letter: letter.__name__)
def test_what_a_newer_version_adds_to_a_letter_is_left_out(letter: type) -> None:
    @settings(max_examples=25)
    @given(values(letter), st.sampled_from([(7,), ("x", None, 0.5), ((1, (b"y",)),)]))
    def check(sent: Any, added: tuple[Any, ...]) -> None:
        body = [(TAGS[letter], *sent, *added), (TAGS[Voted], *VOTE)]
        _envelope, received = unseal(msgpack.packb((LETTER_VERSION, ENVELOPE, body)))
        assert repr(received) == repr([sent, VOTE])

    check()


@pytest.mark.parametrize(
    "letter", [x for x in SEALED if x._field_defaults], ids=lambda letter: letter.__name__
)
def test_what_an_older_version_does_not_know_is_its_default(letter: Any) -> None:
    @settings(max_examples=25)
    @given(values(letter))
    def check(sent: Any) -> None:
        older = sent[: -len(letter._field_defaults)]
        body = [(TAGS[letter], *older)]
        _envelope, received = unseal(msgpack.packb((LETTER_VERSION, ENVELOPE, body)))
        assert repr(received) == repr([letter(*older)])

    check()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cluster", bytes(CLUSTER_ID_BYTES - 1)),
        ("genesis", bytes(CHECK_BYTES + 1)),
        ("name", "../n1"),
        ("name", "n\x1b[2J"),
        ("name", b"n1"),
        ("disk", 0),
        ("boot", 0),
        ("boot", True),
        ("to_disk", -1),
        ("formed", b""),
    ],
)
def test_an_envelope_that_names_nobody_is_refused(field: str, value: Any) -> None:
    with pytest.raises(Garbled, match="peer_envelope_malformed"):
        unseal(seal(ENVELOPE._replace(**{field: value}), [VOTE]))


def test_a_frame_of_another_letter_version_is_refused() -> None:
    with pytest.raises(Garbled, match="peer_letter_version"):
        unseal(msgpack.packb((LETTER_VERSION + 1, ENVELOPE, [])))


@given(st.data())
def test_a_garbled_frame_is_refused_or_is_another_frame(data: st.DataObject) -> None:
    """Whatever is cut off, put in or flipped: `Garbled`, or letters whose fields are sound."""
    append = Append(3, 4, 2, bytes(8), ((3, 4, 5, 6, b"payload"),), 4, 0, 0)
    frame = bytearray(seal(ENVELOPE, [append, VOTE]))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        _envelope, letters = unseal(bytes(frame))
    except Garbled:
        return
    for letter in letters:
        assert unseal(seal(ENVELOPE, [letter]))[1] == [letter]
