"""The thread that gives the documents of a collection the vectors that did not come with their
write: those of a generation being built, and of all but the leading one later."""

from __future__ import annotations

import functools
import logging
import threading
import time
import weakref
from dataclasses import dataclass

from sidecar.models.workers import yield_to_others
from sidecar.recall.embedded.encoding_turns import Turns
from sidecar.recall.embedded.generation import Generation
from sidecar.recall.embedded.generations import Generations

MAX_RETRY_SECONDS = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Retry:
    """When a generation that failed is tried again, and how long that was after it failed."""

    moment: float
    delay: float


class BackgroundEncoding:
    """Encodes, the leading generation first, a chunk of each in turn. A failure is tried again, the
    others going on meanwhile. It is woken by `changed`, and notifies it of what it did."""

    def __init__(
        self, name: str, generations: Generations, turns: Turns, changed: threading.Condition
    ) -> None:
        self._name = name
        self._generations = generations
        self._turns = turns
        self._changed = changed
        self._closing = False
        self._retries: weakref.WeakKeyDictionary[Generation, _Retry] = weakref.WeakKeyDictionary()
        self._thread = threading.Thread(target=self._run, name=f"encode {name}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; a chunk that is being encoded is finished. May be called twice."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        yield_to_others()
        while self._wait_for_work():
            for generation in self._due():
                with self._generations.using(generation) as is_at_hand:
                    if is_at_hand:
                        self._try(generation)

    def _wait_for_work(self) -> bool:
        with self._changed:
            while not (self._closing or self._due()):
                self._changed.wait(self._seconds_to_retry())
            return not self._closing

    def _due(self) -> list[Generation]:
        now = time.monotonic()
        never = _Retry(now, 0.0)
        return [
            each
            for each in self._generations
            if not each.is_encoded and self._retries.get(each, never).moment <= now
        ]

    def _seconds_to_retry(self) -> float | None:
        moments = [
            self._retries[each].moment for each in self._generations if each in self._retries
        ]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _try(self, generation: Generation) -> None:
        try:
            self._turns.take(functools.partial(self._encode, generation))
        except Exception as error:
            # Nothing is lost: the truth says which documents have no vector.
            _log.exception("%s: encoding by %s failed", self._name, generation.identity)
            generation.failure = str(error)
            before = self._retries.get(generation, _Retry(0.0, 0.0)).delay
            delay = min(MAX_RETRY_SECONDS, 2 * before + 1.0)
            self._retries[generation] = _Retry(time.monotonic() + delay, delay)
        else:
            self._retries.pop(generation, None)
        self._notify()

    def _encode(self, generation: Generation, limit: int) -> int:
        return 0 if self._closing else generation.encode(limit, self._turns.in_batches)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
