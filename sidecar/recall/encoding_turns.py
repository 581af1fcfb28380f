"""Turns: how encoding in the background gives way to searches.

One chunk of documents is encoded at a time, whatever the number of collections. While searches come
a chunk is short, so that a query waits little for the model, and is followed by a rest, so that
most of the machine is left to them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# The machine is busy for so long after a search.
BUSY_SECONDS = 1.0
# What a chunk is to take.
BUSY_CHUNK_SECONDS = 0.1
IDLE_CHUNK_SECONDS = 0.5
# A rest while the machine is busy, in lengths of the chunk before it, and at most.
RESTS = 3.0
MAX_REST_SECONDS = 1.0
MAX_CHUNK_DOCUMENTS = 256
# Before anything was measured.
FIRST_SECONDS_A_DOCUMENT = 0.1


class Turns:
    """Shared by all collections that encode in the background."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._one_at_a_time = threading.Lock()
        self._last_request = -BUSY_SECONDS
        self._seconds_a_document = FIRST_SECONDS_A_DOCUMENT

    def requested(self) -> None:
        """A search has come."""
        self._last_request = self._now()

    @property
    def is_busy(self) -> bool:
        """Whether searches come."""
        return self._now() - self._last_request < BUSY_SECONDS

    def take(self, encode: Callable[[int], int], rest: Callable[[float], object]) -> None:
        """Waits for its turn and calls `encode` with the most documents it may encode, which gives
        the number that it did; then `rest`, with the seconds to rest, if the machine is busy."""
        with self._one_at_a_time:
            started = self._now()
            documents = encode(self._limit())
            seconds = self._now() - started
            if documents:
                self._seconds_a_document = max(seconds / documents, 1e-6)
                if self.is_busy:
                    rest(min(RESTS * seconds, MAX_REST_SECONDS))

    def _limit(self) -> int:
        seconds = BUSY_CHUNK_SECONDS if self.is_busy else IDLE_CHUNK_SECONDS
        return max(1, min(MAX_CHUNK_DOCUMENTS, round(seconds / self._seconds_a_document)))
