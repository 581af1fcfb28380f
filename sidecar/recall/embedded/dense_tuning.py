"""Vectors that were searched for tell how many lists are to be read for such (dense_reach.py).

The last ones are kept, in memory only. Once there are enough of them, and again from time to time,
an index is tuned by them in a thread that yields to others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import numpy as np

from sidecar.recall.embedded.dense_building import GivenUpError, yield_to_others
from sidecar.recall.embedded.dense_kinds import Vectors

FEWEST, MOST = 128, 256  # vectors that an index is tuned by
# Different vectors between two times: as many again as there have been, but no more than these.
MOST_BETWEEN = 100_000

# Told the vectors (n, dimensions), and what raises GivenUpError when it is not wanted any more.
Tune = Callable[[Vectors, Callable[[], None]], None]

_log = logging.getLogger(__name__)


class Tuning:
    """`note` is called by any thread; one is at work at a time."""

    def __init__(self, tune: Tune, name: str) -> None:
        self._tune = tune
        self._name = name
        self._lock = threading.Lock()
        self._kept: dict[bytes, None] = {}
        self._noted = 0
        self._due = FEWEST
        self._given_up = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, vector: Vectors) -> None:
        """One that was searched for (1, dimensions); the same one again says nothing new."""
        content = vector.tobytes()
        with self._lock:
            if content in self._kept:
                return
            self._kept[content] = None
            if len(self._kept) > MOST:
                del self._kept[next(iter(self._kept))]
            self._noted += 1
            if self._noted >= self._due and self._may_start():
                self._due = self._noted + min(self._noted, MOST_BETWEEN)
                self._start()

    def restart(self) -> None:
        """Another index serves: it is tuned as soon as there is enough to do that by."""
        with self._lock:
            self._due = FEWEST

    def wait(self, timeout_seconds: float | None = None) -> None:
        """Until what is under way has ended."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def close(self) -> None:
        """Gives up what is under way, which ends with its present step; nothing else is begun."""
        self._given_up.set()
        self.wait()

    def _may_start(self) -> bool:
        is_under_way = self._thread is not None and self._thread.is_alive()
        return not is_under_way and not self._given_up.is_set()

    def _start(self) -> None:
        vectors = np.frombuffer(b"".join(self._kept), np.float32).reshape(len(self._kept), -1)
        self._thread = threading.Thread(
            target=self._run, args=(vectors,), name=f"tune {self._name}", daemon=True
        )
        self._thread.start()

    def _run(self, vectors: Vectors) -> None:
        yield_to_others()
        try:
            self._tune(vectors, self._check)
        except GivenUpError:
            return
        except Exception as error:  # it searches as before
            _log.warning("%s: not tuned by what was searched for: %r", self._name, error)

    def _check(self) -> None:
        if self._given_up.is_set():
            raise GivenUpError
