"""Turns: how encoding in the background gives way to searches.

One chunk of documents is encoded at a time, whatever the number of collections; its vectors are
written together. It is encoded in batches that begin between requests, and while such come a batch
is so short that one that finds it under way hardly waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sidecar.models.foreground import Foreground, foreground

# The machine is busy for so long after a request.
BUSY_SECONDS = 5.0
# What a chunk and a batch are to take.
BUSY_CHUNK_SECONDS = 0.1
BUSY_BATCH_SECONDS = 0.01
IDLE_CHUNK_SECONDS = 0.5
IDLE_BATCH_SECONDS = 0.1
# All that the batches of a chunk wait for requests, in lengths of the chunk, and at most: where
# requests never end, this is what leaves most of the machine to them.
WAITS = 3.0
MAX_WAIT_SECONDS = 1.0
MAX_CHUNK_DOCUMENTS = 256
# Before anything was measured.
FIRST_SECONDS_A_DOCUMENT = 0.1

T = TypeVar("T")


class Turns:
    """Shared by all collections that encode in the background."""

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        requests: Foreground | None = None,
    ) -> None:
        self._now = now
        self._requests = requests or foreground()
        self._one_at_a_time = threading.Lock()
        self._seconds_a_document = FIRST_SECONDS_A_DOCUMENT
        self._patience = 0.0  # what is left of it for the chunk that has its turn
        self._waited = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether requests come."""
        return not self._requests.was_quiet_for(BUSY_SECONDS)

    def take(self, encode: Callable[[int], int]) -> None:
        """Waits for its turn and calls `encode` with the most documents it may encode, which gives
        the number that it did; it is to do so `in_batches`."""
        with self._one_at_a_time:
            limit = self._documents(BUSY_CHUNK_SECONDS if self.is_busy else IDLE_CHUNK_SECONDS)
            expected = limit * self._seconds_a_document
            self._patience, self._waited = min(WAITS * expected, MAX_WAIT_SECONDS), 0.0
            started = self._now()
            documents = encode(limit)
            seconds = self._now() - started - self._waited
            if documents:
                self._seconds_a_document = max(seconds / documents, 1e-6)

    def in_batches(self, things: Sequence[T]) -> Iterator[Sequence[T]]:
        """The things of a chunk, some at a time, each when no request is being answered (or the
        chunk has waited for long enough)."""
        start = 0
        while start < len(things):
            self._give_way()
            count = self._documents(BUSY_BATCH_SECONDS if self.is_busy else IDLE_BATCH_SECONDS)
            yield things[start : start + count]
            start += count

    def _give_way(self) -> None:
        started = self._now()
        self._requests.wait_quiet(self._patience)
        waited = self._now() - started
        self._waited += waited
        self._patience = max(0.0, self._patience - waited)

    def _documents(self, seconds: float) -> int:
        return max(1, min(MAX_CHUNK_DOCUMENTS, round(seconds / self._seconds_a_document)))
