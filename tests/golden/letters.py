"""One frame a letter that nodes say to each other, with values that are the same in every run.

Owns: the example values, and how they stand in JSON. Must never know what a letter means. What the
actors of one process say to each other is of one version always, and is not kept.
"""

import itertools
import types
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

from dkv.codec import TAGS, seal
from dkv.ids import CLUSTER_ID_BYTES
from dkv.limits import CHECK_BYTES
from dkv.messages import CATALOGUE, FROM_PEERS, Envelope

ENVELOPE = Envelope(
    bytes(range(CLUSTER_ID_BYTES)), b"\1" * CHECK_BYTES, "n1", 2**62, 3, 4, 0, b"\2" * CHECK_BYTES
)
# Where msgpack changes from one width of a number to the next.
_NUMBERS = (0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**63 - 1)


def records() -> list[dict[str, Any]]:
    """In the order of their tags."""
    letters = (CATALOGUE[tag] for tag in sorted(TAGS[letter] for letter in FROM_PEERS))
    return [_record(letter) for letter in letters]


def _record(kind: type) -> dict[str, Any]:
    numbers = itertools.cycle(_NUMBERS)
    fields = {name: _example(hint, numbers) for name, hint in get_type_hints(kind).items()}
    frame = seal(ENVELOPE, [kind(**fields)])
    told = {name: to_json(value) for name, value in fields.items()}
    return {"letter": kind.__name__, "fields": told, "frame": frame.hex()}


def _example(hint: Any, numbers: Iterator[int]) -> Any:
    if hint is int:
        return next(numbers)
    if hint is bool:
        return True
    if hint in (bytes, str):
        text = f"t\u00e9xt {next(numbers)}"
        return text if hint is str else text.encode()
    if get_origin(hint) is not tuple:
        raise TypeError(f"no example of {hint}")
    hints = get_args(hint)
    if isinstance(hints[-1], types.EllipsisType):
        hints = (hints[0], hints[0])
    return tuple(_example(each, numbers) for each in hints)


def to_json(value: Any) -> Any:
    """Bytes as {"hex": ...}; everything else is itself."""
    if isinstance(value, tuple):
        return [to_json(each) for each in value]
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def from_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(from_json, value))
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
