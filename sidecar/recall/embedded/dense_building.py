"""A better index is made beside the one that serves, in a thread of its own that yields to others.

It is made of copies, a chunk at a time, while searches and writes go on. What is written meanwhile
is noted, copied again at the end, and then the better index takes over. One is made at a time in
the whole process: it takes a core, and the memory of one more index.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

import faiss
import numpy as np

from sidecar.recall.embedded.dense_kinds import Successor, VectorIndex, Vectors
from sidecar.recall.embedded.dense_rows import Ordinals

COPIED_AT_ONCE = 4096
TRIED = 128  # vectors that the better index tries itself on
# What was written meanwhile is copied in rounds; the last one, while searches wait, is so small.
LAST_ROUND = 256
MOST_ROUNDS = 50
RETRY_SECONDS = 30.0
NICENESS = 5  # a third of what others get on a machine with nothing to spare
# OpenMP threads, of which FAISS makes use where it trains, assigns and links many vectors.
THREADS = max(1, min(4, (os.cpu_count() or 1) // 2))

# The ordinals among some that are held now, and their vectors.
Copy = Callable[[Ordinals], tuple[Ordinals, Vectors]]

_one_at_a_time = threading.Semaphore(1)
_log = logging.getLogger(__name__)


class Source(Protocol):
    """The index that serves meanwhile."""

    def begin_copy(self) -> Ordinals:
        """What is held; from now on what changes is noted."""

    def copy(self, ordinals: Ordinals) -> tuple[Ordinals, Vectors]:
        """Those of some that are held now, and their vectors."""

    def changed(self) -> Ordinals:
        """What has changed since it was last asked for, each once."""

    def replace(self, better: VectorIndex) -> None:
        """Brings the better index up to date and lets it serve from now on."""

    def end_copy(self) -> None:
        """What changes need not be noted any more."""


class GivenUpError(Exception):
    """It is not wanted any more."""


class Building:
    """At most one at work for its source. A failure leaves what serves, and is tried again."""

    def __init__(self, source: Source, name: str, on_built: Callable[[], object]) -> None:
        """`on_built` is called when one has taken over, or has failed, and is to be started again
        after `again`."""
        self.failure = ""  # of the last attempt
        self._source = source
        self._name = name
        self._on_built = on_built
        self._given_up = threading.Event()
        self._again = 0.0
        self._thread: threading.Thread | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether an index is being made."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def may_start(self) -> bool:
        """Whether one could be begun now."""
        return not (self.is_under_way or self._given_up.is_set() or time.monotonic() < self._again)

    @property
    def again(self) -> float:
        """From when on, by time.monotonic(), one may be started after a failure."""
        return self._again

    def start(self, successor: Successor) -> None:
        """Begins to make an index. By one thread, where it may start."""
        self._thread = threading.Thread(
            target=self._run, args=(successor,), name=f"build {self._name}", daemon=True
        )
        self._thread.start()

    def wait(self, timeout_seconds: float | None = None) -> None:
        """Until what is under way has ended."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def close(self) -> None:
        """Gives up what is under way, which ends with its present step; no other is begun."""
        self._given_up.set()
        self.wait()

    def _run(self, successor: Successor) -> None:
        yield_to_others()
        try:
            while not _one_at_a_time.acquire(timeout=1.0):
                self._check()
            try:
                build(self._source, successor, self._check)
            finally:
                _one_at_a_time.release()
                self._source.end_copy()
        except GivenUpError:
            return
        except Exception as error:
            self.failure, self._again = str(error), time.monotonic() + RETRY_SECONDS
            _log.warning("%s: no better index, tried again later: %r", self._name, error)
        else:
            self.failure = ""
        self._on_built()

    def _check(self) -> None:
        if self._given_up.is_set():
            raise GivenUpError


def build(source: Source, successor: Successor, check: Callable[[], None]) -> None:
    """Makes an index of all that the source holds, and has it take over."""
    check()
    held = source.begin_copy()
    successor.train(_sampled(source, held, successor.sample_count), check)
    for first in range(0, len(held), COPIED_AT_ONCE):
        check()
        successor.add(*source.copy(held[first : first + COPIED_AT_ONCE]))
    better = successor.finish(_sampled(source, held, TRIED), check)
    for _ in range(MOST_ROUNDS):
        check()
        changed = source.changed()
        bring_up_to_date(better, changed, source.copy)
        if len(changed) <= LAST_ROUND:
            break
    source.replace(better)


def bring_up_to_date(better: VectorIndex, changed: Ordinals, copy: Copy) -> None:
    """Gives an index what there now is of some ordinals."""
    for first in range(0, len(changed), COPIED_AT_ONCE):
        chunk = changed[first : first + COPIED_AT_ONCE]
        ordinals, vectors = copy(chunk)
        better.put(chunk, ordinals, vectors, better.placed(vectors))


def _sampled(source: Source, ordinals: Ordinals, count: int) -> Vectors:
    """The vectors of so many of them, drawn the same way each time; of all if there are no more.

    A chunk at a time: who waits to change the source has searches wait behind it.
    """
    if len(ordinals) > count:
        rng = np.random.default_rng(0)
        ordinals = np.sort(rng.choice(ordinals, count, replace=False, shuffle=False))
    chunks = [
        source.copy(ordinals[first : first + COPIED_AT_ONCE])[1]
        for first in range(0, max(1, len(ordinals)), COPIED_AT_ONCE)
    ]
    return np.concatenate(chunks)


def yield_to_others() -> None:
    """This thread, and those of OpenMP that are its own, run where others leave time."""
    faiss.omp_set_num_threads(THREADS)
    with contextlib.suppress(OSError, AttributeError):  # Linux has a niceness for each thread
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
