"""Letters to bytes and back: the only place that does it.

Owns: the frame inside a node (`encode`, `decode`) and the sealed frame between nodes (`seal`,
`unseal`), both msgpack arrays with the letter version first and each letter as [tag, field, ...].
What comes from another node is hostile until checked: type of every field, range of every number,
before it becomes a letter. Must never know what a letter means.
"""

import types
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, get_args, get_origin, get_type_hints

import msgpack

from dkv.entries import Entry
from dkv.ids import CLUSTER_ID_BYTES, is_name
from dkv.limits import CHECK_BYTES, INT_MAX
from dkv.messages import CATALOGUE, FROM_PEERS, LETTER_VERSION, Envelope

TAGS: dict[type, int] = {letter: tag for tag, letter in CATALOGUE.items()}
_PEER_LETTERS_MAX = 4_096
_PEER_ARRAY_MAX = 65_536


def encode(letters: Iterable[Any]) -> bytes:
    """One frame of letters between actors of a node."""
    return msgpack.packb((LETTER_VERSION, *[(TAGS[type(x)], *x) for x in letters]))  # type: ignore[no-any-return]


def decode(frame: bytes) -> list[Any]:
    """The letters of a frame made by `encode` in this process."""
    version, *letters = msgpack.unpackb(frame, use_list=False)
    assert version == LETTER_VERSION, version
    return [_letter(fields) for fields in letters]


def _letter(fields: tuple[Any, ...]) -> Any:
    letter = CATALOGUE[fields[0]](*fields[1:])
    place = _ENTRIES.get(fields[0])
    if place is None:
        return letter
    return letter._replace(**{place: tuple(map(Entry._make, getattr(letter, place)))})


# The field of a letter that holds entries, which msgpack returns as bare tuples.
_ENTRIES: dict[int, str] = {
    tag: name
    for tag, letter in CATALOGUE.items()
    for name, hint in get_type_hints(letter).items()
    if hint == tuple[Entry, ...]
}


class Garbled(Exception):
    """A peer's frame is not one: the reason, a counter's name."""


def seal(envelope: Envelope, letters: Sequence[Any]) -> bytes:
    """One frame from node to node."""
    body = [(TAGS[type(x)], *x) for x in letters]
    return msgpack.packb((LETTER_VERSION, envelope, body))  # type: ignore[no-any-return]


def unseal(frame: bytes) -> tuple[Envelope, list[Any]]:
    """Envelope and letters of a peer's frame; `Garbled` names what is wrong with it."""
    try:
        outer = msgpack.unpackb(
            frame,
            use_list=False,
            max_array_len=_PEER_ARRAY_MAX,
            max_map_len=0,
            max_ext_len=0,
        )
    except Exception as error:  # msgpack raises six unrelated kinds on bad bytes
        raise Garbled("peer_frame_unreadable") from error
    if type(outer) is not tuple or len(outer) != 3 or outer[0] != LETTER_VERSION:
        raise Garbled("peer_letter_version")
    envelope = _envelope(outer[1])
    body = outer[2]
    if type(body) is not tuple or len(body) > _PEER_LETTERS_MAX:
        raise Garbled("peer_letters_malformed")
    return envelope, [_peer_letter(fields) for fields in body]


def _envelope(fields: Any) -> Envelope:
    try:
        return _known_envelope(fields)
    except TypeError as error:  # not even something to look up
        raise Garbled("peer_envelope_malformed") from error


@lru_cache(64)
def _known_envelope(fields: Any) -> Envelope:
    """Checked once: a member sends the same one with every frame."""
    if not _ENVELOPE(fields):
        raise Garbled("peer_envelope_malformed")
    envelope = Envelope(*fields)
    if (
        not is_name(envelope.name)
        or not envelope.disk
        or not envelope.boot
        or len(envelope.cluster) != CLUSTER_ID_BYTES
        or len(envelope.genesis) != CHECK_BYTES
        or len(envelope.formed) != CHECK_BYTES
    ):
        raise Garbled("peer_envelope_malformed")
    return envelope


def _peer_letter(fields: object) -> Any:
    if type(fields) is not tuple or not fields or type(fields[0]) is not int:
        raise Garbled("peer_letter_malformed")
    checker = _PEER_CHECKERS.get(fields[0])
    if checker is None:
        raise Garbled("peer_letter_unknown")
    if not checker(fields[1:]):
        return _of_another_version(fields)
    return CATALOGUE[fields[0]](*fields[1:])


def _of_another_version(fields: tuple[Any, ...]) -> Any:
    """New fields go last, with a default: a newer node's are left out, those that an older one
    does not know yet are their defaults. Only then is a letter malformed."""
    letter: Any = CATALOGUE[fields[0]]
    told = fields[1 : 1 + len(letter._fields)]
    names = letter._fields[len(told) :]
    try:
        found = (*told, *(letter._field_defaults[name] for name in names))
    except KeyError as error:
        raise Garbled("peer_letter_malformed") from error
    if not _PEER_CHECKERS[fields[0]](found):
        raise Garbled("peer_letter_malformed")
    return letter(*found)


# -- checkers: built once from the catalogue's own types -----------------------------------------
Checker = Callable[[Any], bool]
_PRIMITIVE = {bytes: "bytes", str: "str", bool: "bool"}


def _checker(hints: Iterable[Any]) -> Checker:
    """Whether a tuple has fields of these types, numbers within INT_MAX. Written out as one
    expression and compiled, as namedtuple does: every frame of a peer pays for it."""
    names: dict[str, Any] = {"INT_MAX": INT_MAX}
    condition = _all_of(tuple(hints), "x", names)
    return eval(f"lambda x: {condition}", names)  # type: ignore[no-any-return]


def _is(hint: Any, x: str, names: dict[str, Any]) -> str:
    """The condition that `x` is of this type."""
    if hint is int:
        return f"type({x}) is int and 0 <= {x} <= INT_MAX"
    if hint in _PRIMITIVE:
        return f"type({x}) is {_PRIMITIVE[hint]}"
    if isinstance(hint, type) and issubclass(hint, tuple):
        return _all_of(tuple(get_type_hints(hint).values()), x, names)
    if get_origin(hint) is not tuple:
        raise TypeError(f"no checker for {hint}")
    hints = get_args(hint)
    if len(hints) == 2 and isinstance(hints[1], types.EllipsisType):
        each = f"each{len(names)}"
        names[each] = eval(f"lambda y: {_is(hints[0], 'y', names)}", names)
        return f"type({x}) is tuple and all(map({each}, {x}))"
    return _all_of(hints, x, names)


def _all_of(hints: tuple[Any, ...], x: str, names: dict[str, Any]) -> str:
    fields = [_is(hint, f"{x}[{i}]", names) for i, hint in enumerate(hints)]
    return " and ".join([f"type({x}) is tuple and len({x}) == {len(hints)}", *fields])


_ENVELOPE = _checker(get_type_hints(Envelope).values())
_PEER_CHECKERS: dict[int, Checker] = {
    tag: _checker(get_type_hints(letter).values())
    for tag, letter in CATALOGUE.items()
    if letter in FROM_PEERS
}
