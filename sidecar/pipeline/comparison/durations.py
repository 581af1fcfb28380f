"""Many durations in little memory: counts in bins that grow by 2 %."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator

SHORTEST_SECONDS = 1e-5
LONGEST_SECONDS = 1e4
GROWTH = 1.02
_BINS = math.ceil(math.log(LONGEST_SECONDS / SHORTEST_SECONDS) / math.log(GROWTH)) + 1
# Bin i holds what is above edge i - 1 and at most edge i; the last one whatever is longer, too.
_EDGES = tuple(SHORTEST_SECONDS * GROWTH**i for i in range(_BINS))


class Durations:
    """Durations, of which quantiles are known to within 2 %."""

    def __init__(self) -> None:
        self._counts = [0] * _BINS
        self.count = 0

    def add(self, seconds: float) -> None:
        """One more."""
        self._counts[min(bisect_left(_EDGES, seconds), _BINS - 1)] += 1
        self.count += 1

    def quantile(self, share: float) -> float:
        """The least duration, rounded up by 2 % at most, that `share` of them do not exceed; 0
        without any."""
        left = math.ceil(share * self.count)
        for edge, count in zip(_EDGES, self._counts, strict=True):
            left -= count
            if left <= 0 and self.count:
                return edge
        return 0.0

    def count_above(self, seconds: float) -> int:
        """How many are longer for certain: those in bins that begin there or later."""
        return sum(self._counts[bisect_left(_EDGES, seconds) + 1 :])

    def longest_first(self) -> Iterator[tuple[float, int]]:
        """Upper edges of the bins that hold any, the longest first, and how many are above each."""
        above = 0
        for edge, count in zip(reversed(_EDGES), reversed(self._counts), strict=True):
            if count:
                yield edge, above
                above += count
