"""Sequence numbers of writes that OpenSearch keeps: microseconds of the clock, always rising.

Several sidecars may write to one index: of two writes of a document that with the higher number
stays. So a number has to be above all that were given before, by whomever.
"""

from __future__ import annotations

import threading
import time

CLOCK_SKEW_SECONDS = 10.0


class Sequences:
    """For one collection; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._durable = 0
        self._searchable = 0
        self._under_way: dict[int, int] = {}  # first -> last, of writes that have not ended

    def take(self, count: int) -> range:
        """Numbers for a write, which has to be ended with `end`."""
        with self._lock:
            first = max(self._last + 1, time.time_ns() // 1000)
            self._last = first + count - 1
            self._under_way[first] = self._last
            return range(first, self._last + 1)

    def end(self, numbers: range, is_durable: bool) -> None:
        """A write ended; what is not durable may be, and is written again under other numbers."""
        with self._lock:
            del self._under_way[numbers.start]
            if is_durable:
                self._durable = max(self._durable, numbers.stop - 1)

    def seen(self, sequence: int) -> None:
        """A number that the index has."""
        with self._lock:
            self._last = max(self._last, sequence)
            self._durable = max(self._durable, sequence)

    def raise_to(self, sequence: int) -> None:
        """A number that somebody else gave: the next ones are above it."""
        with self._lock:
            self._last = max(self._last, sequence)

    @property
    def durable(self) -> int:
        """The highest number of a write that ended well."""
        return self._durable

    @property
    def latest(self) -> int:
        """No write that was acknowledged, by whichever sidecar, has a higher number: their clocks
        may differ by CLOCK_SKEW_SECONDS."""
        skew = int(CLOCK_SKEW_SECONDS * 1_000_000)
        return max(self._last, time.time_ns() // 1000 + skew)

    @property
    def ended(self) -> int:
        """All writes of this sidecar up to it have ended."""
        with self._lock:
            if self._under_way:
                return min(min(self._under_way) - 1, self._durable)
            return self._durable

    @property
    def searchable(self) -> int:
        """All writes of this sidecar up to it are searchable."""
        return self._searchable

    def refreshed(self, ended: int) -> None:
        """What had ended before a refresh is searchable after it."""
        with self._lock:
            self._searchable = max(self._searchable, ended)
