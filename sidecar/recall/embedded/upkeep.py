"""When better dense indexes are begun and snapshots written: whenever all writes are indexed, and
from time to time while writes do not cease.

What is due then is so by how much has changed (`DenseIndex.settle`, `Generation.save_if_due`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from sidecar.recall.embedded.generation import Generation

# While writes do not cease: how often, and how many times as long as it took it rests after that.
BUSY_SECONDS = 10.0
BUSY_REST = 4.0
# After a failure, whether or not writes cease.
RETRY_SECONDS = 30.0

Step = Callable[[Generation], None]

_log = logging.getLogger(__name__)


class Upkeep:
    """Called by the index thread, in which nothing becomes searchable meanwhile.

    What fails is only said, and done again later: what is written is to be found meanwhile.
    """

    def __init__(
        self,
        where: Path,
        each: Callable[[Step], list[Exception | None]],
        prune: Callable[[], Exception | None],
    ) -> None:
        """`each` makes a step with every generation, `prune` is the last step; they return how it
        failed."""
        self._where = where
        self._each = each
        self._prune = prune
        self._due = time.monotonic() + BUSY_SECONDS
        self._again = 0.0

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
        if time.monotonic() >= self._again:
            self._run(_settle)

    def _run(self, settle: Step) -> None:
        began = time.monotonic()
        tried = [*self._each(settle), *self._each(Generation.save_if_due), self._prune()]
        failures = [failure for failure in tried if failure is not None]
        for failure in failures:
            _log.warning("%s: no snapshot: %r", self._where, failure)
        ended = time.monotonic()
        self._again = ended + RETRY_SECONDS if failures else 0.0
        self._due = max(self._again, ended + max(BUSY_SECONDS, BUSY_REST * (ended - began)))


def _settle(generation: Generation) -> None:
    generation.dense.settle()


def _settle_if_served(generation: Generation) -> None:
    if generation.is_served:
        generation.dense.settle()
