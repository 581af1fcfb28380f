"""Sequence numbers of writes by a hybrid clock: microseconds since 1970, raised above the last.

They rise over restarts without being kept anywhere, as long as one sidecar writes; where the clock
was set back, the numbers that the documents have are stepped over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Clock:
    """`is_beyond` says whether a stored document has a number above a given one."""

    def __init__(self, is_beyond: Callable[[int], bool], now: Callable[[], int] | None = None):
        self._is_beyond = is_beyond
        self._now = now or _microseconds
        self._last = self._now()
        self._is_checked = False
        self._lock = threading.Lock()

    @property
    def last(self) -> int:
        """No number above it was given by this clock."""
        return self._last

    def take(self, count: int) -> int:
        """The first of `count` numbers in a row that nobody had. Raises what `is_beyond` does."""
        with self._lock:
            if not self._is_checked:
                self._last = self._above_stored(self._last)
                self._is_checked = True
            first = max(self._last + 1, self._now())
            self._last = first + count - 1
            return first

    def _above_stored(self, number: int) -> int:
        step = 1_000_000
        while self._is_beyond(number):
            number, step = number + step, 2 * step
        return number


def _microseconds() -> int:
    return time.time_ns() // 1000
