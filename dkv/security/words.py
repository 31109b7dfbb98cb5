"""Times of certificates, for people.

Owns: how a day is written and when an end is near. Must never know a clock.
"""

from datetime import UTC, datetime

WARN_S = 30 * 86_400  # an end is announced this long before
_YEAR_9999_S = 253_402_300_799


def day(unix_s: int) -> str:
    """As 2026-11-24, in UTC."""
    return datetime.fromtimestamp(min(unix_s, _YEAR_9999_S), UTC).strftime("%Y-%m-%d")


def end_in_words(not_after: int, now_s: int) -> str | None:
    """How near an end is, from 30 days before; None: far."""
    left = not_after - now_s
    if left > WARN_S:
        return None
    if left < 0:
        return f"expired on {day(not_after)}"
    return f"ends on {day(not_after)}, in {left // 86_400} days"
