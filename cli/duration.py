"""Times as people write them, for options of both programs.

Owns: the units. Must never import more than click: a node needs it at its start.
"""

from typing import Any

import click

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DIGITS_MAX = 9


class Duration(click.ParamType[int]):
    """A time as 90s, 10m, 1h, 7d, or bare seconds; its seconds."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        text = str(value)
        number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS_S else (text, "s")
        if not (number.isascii() and number.isdecimal() and len(number) <= _DIGITS_MAX):
            self.fail(f"{text!r} is no time: give one as 90s, 10m, 1h or 7d", param, ctx)
        return int(number) * _UNITS_S[unit]


DURATION = Duration()
