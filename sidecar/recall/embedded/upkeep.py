"""When better dense indexes are begun and snapshots written: whenever all writes are indexed, and
from time to time while writes do not cease.

What is due then is so by how much has changed (`DenseIndex.settle`, `Generation.is_save_due`). Both
take their time in threads of their own: what is written becomes searchable meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sidecar.recall.embedded.generation import Generation

# While writes do not cease: how often, and how many times as long as snapshots took they rest.
BUSY_SECONDS = 10.0
BUSY_REST = 4.0
# After a failure, whether or not writes cease.
RETRY_SECONDS = 30.0

Step = Callable[[Generation], object]

_log = logging.getLogger(__name__)


class Upkeep:
    """Called by the index thread. What fails is only said, and done again later."""

    def __init__(
        self,
        where: Path,
        each: Callable[[Step], list[Exception | None]],
        prune: Callable[[], Exception | None],
        on_tried: Callable[[], object],
    ) -> None:
        """`each` makes a step with every generation, `prune` is what may be done after snapshots;
        both return how they failed. `on_tried` is told that snapshots were written, or failed."""
        self._where = where
        self._each = each
        self._prune = prune
        self._on_tried = on_tried
        self._due = time.monotonic() + BUSY_SECONDS
        self._again = 0.0
        self._rested = 0.0
        self._saving: threading.Thread | None = None

    def at_start(self) -> None:
        """What was opened may be due for a better index, though nothing changes."""
        self._each(_settle_if_served)

    def while_busy(self) -> None:
        """There is more to be indexed. An index that is not served yet is not worth a better one,
        which is to be made again once it has everything."""
        if time.monotonic() >= self._due:
            self._run(_settle_if_served)

    def at_rest(self) -> None:
        """There is not."""
        now = time.monotonic()
        if now >= self._again:
            self._rested = now
            self._run(_settle)

    @property
    def seconds_until_due(self) -> float | None:
        """Until `at_rest` is to be called though nothing is written, to try again what failed;
        None: nothing did."""
        moments = [self._again]
        self._each(lambda generation: moments.append(generation.dense.again))
        # The others were tried when it was called last.
        ahead = [moment for moment in moments if moment > self._rested]
        if not ahead:
            return None
        return max(0.0, max(min(ahead), self._again) - time.monotonic())

    def close(self) -> None:
        """Once returned, no snapshot is being written; by whoever ended the index thread before."""
        if self._saving is not None:
            self._saving.join()

    def _run(self, settle: Step) -> None:
        self._due = time.monotonic() + BUSY_SECONDS
        self._tell([*self._each(settle), self._prune()])
        is_saving = self._saving is not None and self._saving.is_alive()
        if not is_saving and self._is_save_due():
            name = f"snapshot {self._where.name}"
            self._saving = threading.Thread(target=self._save, name=name, daemon=True)
            self._saving.start()

    def _is_save_due(self) -> bool:
        due: list[Generation] = []
        self._each(lambda generation: due.append(generation) if generation.is_save_due else None)
        return bool(due)

    def _save(self) -> None:
        began = time.monotonic()
        self._tell(self._each(Generation.save_if_due))
        ended = time.monotonic()
        self._due = max(self._due, self._again, ended + BUSY_REST * (ended - began))
        self._on_tried()

    def _tell(self, tried: list[Exception | None]) -> None:
        failures = [failure for failure in tried if failure is not None]
        for failure in failures:
            _log.warning("%s: no snapshot: %r", self._where, failure)
        if failures:
            self._again = time.monotonic() + RETRY_SECONDS
            self._due = max(self._due, self._again)


def _settle(generation: Generation) -> None:
    generation.dense.settle()


def _settle_if_served(generation: Generation) -> None:
    if generation.is_served:
        generation.dense.settle()
