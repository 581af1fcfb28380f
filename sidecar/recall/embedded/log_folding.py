"""The write-ahead log is brought into the database once nothing was written for a while.

What is in the log alone rests on its frames: the shorter it is, the less a damaged one costs, and
the less a start has to read.
"""

from __future__ import annotations

import logging
import threading

from sidecar.errors import StorageError
from sidecar.storage.documents import DocumentStore

QUIET_SECONDS = 30.0

_log = logging.getLogger(__name__)


class LogFolding:
    """Looks at one collection from time to time. What fails is said, and tried again."""

    def __init__(self, store: DocumentStore, quiet_seconds: float = QUIET_SECONDS) -> None:
        self._store = store
        self._quiet_seconds = quiet_seconds
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"log of {store.header.name}", daemon=True
        )

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends it. May be called twice."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        seen, folded = self._store.number, -1  # a crash may have left a log
        while not self._closing.wait(self._quiet_seconds):
            number = self._store.number
            if number == seen != folded:
                folded = self._try(number, folded)
            seen = number

    def _try(self, number: int, folded: int) -> int:
        """Up to which write the log was folded."""
        try:
            return number if self._store.fold_log() else folded
        except StorageError as error:
            _log.warning("%s: its log is not folded: %s", self._store.path, error.message)
            return folded
