"""How long operations took: counts in buckets, so that a long run needs no more memory.

Owns: the buckets. One is at most 1/64 of its time wide, so a percentile is exact to 1.6 %. Must
never know what took so long.
"""

from collections.abc import Iterator

_PARTS_BITS = 6  # a doubling of time has 64 buckets
_PARTS = 1 << _PARTS_BITS
_BUCKETS = (64 - _PARTS_BITS) << _PARTS_BITS


def bucket_of(us: int) -> int:
    """Times below 128 us have a bucket each; beyond, each doubling has 64."""
    shift = us.bit_length() - _PARTS_BITS - 1
    return us if shift <= 0 else (shift << _PARTS_BITS) + (us >> shift)


def floor_of(bucket: int) -> int:
    """The least time, in microseconds, that falls into it."""
    shift = (bucket >> _PARTS_BITS) - 1
    return bucket if shift <= 0 else (bucket - (shift << _PARTS_BITS)) << shift


class Latencies:
    """Of a kind of operation, in microseconds."""

    def __init__(self) -> None:
        self.count = 0
        self.max_us = 0
        self._sum_us = 0
        self._buckets = [0] * _BUCKETS

    def add(self, us: int) -> None:
        self.count += 1
        self._sum_us += us
        shift = us.bit_length() - _PARTS_BITS - 1  # as in `bucket_of`; a call is a fifth of this
        self._buckets[us if shift <= 0 else (shift << _PARTS_BITS) + (us >> shift)] += 1
        if us > self.max_us:
            self.max_us = us

    @property
    def mean_us(self) -> float:
        return self._sum_us / self.count if self.count else 0.0

    def percentile_us(self, share: float) -> int:
        """The time within which this share (0 to 1) of them was done: the top of its bucket, never
        beyond the longest; 0 if there were none."""
        rank = max(-int(-share * self.count // 1), 1)
        seen = 0
        for bucket, count in enumerate(self._buckets):
            seen += count
            if seen >= rank:
                return min(floor_of(bucket + 1) - 1, self.max_us)
        return 0

    def counts(self) -> Iterator[tuple[int, int, int]]:
        """(from, to before, how many) of each bucket that is not empty."""
        for bucket, count in enumerate(self._buckets):
            if count:
                yield floor_of(bucket), floor_of(bucket + 1), count

    def bars(self, most: int) -> list[tuple[int, int, int]]:
        """The same in at most `most` wider bars without gaps, each as many times longer than the
        one before."""
        found = list(self.counts())
        if not found:
            return []
        low, high = max(found[0][0], 1), max(found[-1][1], 2)
        step = (high / low) ** (1 / most)
        edges = [found[0][0]]
        while edges[-1] < high:
            longer = max(round(low * step ** len(edges)), edges[-1] + 1)
            edges.append(high if len(edges) == most else min(longer, high))
        heights = [0] * (len(edges) - 1)
        bar = 0
        for start, _end, count in found:
            while start >= edges[bar + 1]:
                bar += 1
            heights[bar] += count
        return [(edges[n], edges[n + 1], height) for n, height in enumerate(heights)]
