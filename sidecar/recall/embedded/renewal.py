"""How a lexical index of an older format is replaced: a new one is built beside it, step by step,
while it serves what it can; then the new one takes its place.

    lexical/      the one that is served
    lexical.new/  its successor, good as far as its watermark says, whenever building ends
    lexical.old/  the one that was replaced, to be removed

Whatever moment the process ends at, one of them is there, and `settle` puts it in place.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from pathlib import Path

from sidecar.errors import DamagedError, SidecarError, StorageError
from sidecar.recall.embedded.lexical import LexicalIndex, UnopenedLexicalIndex, open_lexical
from sidecar.recall.embedded.opening import LEXICAL_FOLDER
from sidecar.storage.documents import DocumentStore
from sidecar.storage.files import disk_bytes, remove_tree, rename_durably, storage_errors

# New writes wait for so many documents of the successor, at most, to become searchable.
CHUNK_DOCUMENTS = 2_000
CHUNK_CHARACTERS = 8_000_000
RETRY_SECONDS = 30.0
# A successor may take so many times the bytes of the index that is served, merges included; and so
# many are to be left, since the documents need them more.
ROOM = 3
RESERVE_BYTES = 256 << 20

_log = logging.getLogger(__name__)


class LexicalRenewal:
    """The successor of one collection's lexical index. Used by one thread at a time."""

    def __init__(self, folder: Path, store: DocumentStore) -> None:
        """`folder` is the collection's."""
        self._folder = folder / LEXICAL_FOLDER
        self._new = self._folder.with_name(f"{LEXICAL_FOLDER}.new")
        self._old = self._folder.with_name(f"{LEXICAL_FOLDER}.old")
        self._store = store
        self._successor: LexicalIndex | None = None
        self._again = 0.0
        self.failure = ""  # of the last attempt, for whichever index is opened after it

    def settle(self) -> None:
        """Finishes what a process that ended left half done; before the index is opened.

        Raises StorageError.
        """
        with storage_errors(self._folder):
            if self._new.exists() and not self._folder.exists():
                rename_durably(self._new, self._folder)
            remove_tree(self._old)

    def is_due(self, index: LexicalIndex | UnopenedLexicalIndex) -> bool:
        """Whether there is something to do for the index that is served."""
        return index.is_outdated and time.monotonic() >= self._again

    def seconds_until_due(self, index: LexicalIndex | UnopenedLexicalIndex) -> float | None:
        """None: it never is."""
        return max(0.0, self._again - time.monotonic()) if index.is_outdated else None

    def keeps(self, upto: int) -> int:
        """Up to where deletions can be forgotten, of those up to `upto`."""
        return upto if self._successor is None else min(upto, self._successor.watermark)

    def step(self, index: LexicalIndex) -> bool:
        """Brings the successor nearer to the documents, or, if it has them all, puts it in place;
        then `index` takes no more writes, and the one in place is to be opened.

        A failure is only said, and tried again after RETRY_SECONDS: the index that is there serves.
        """
        try:
            self._successor = successor = self._successor or self._opened()
            if successor.watermark < self._store.sequence:
                successor.apply(
                    self._store.text_changes(successor.watermark, CHUNK_DOCUMENTS, CHUNK_CHARACTERS)
                )
                return False
        except SidecarError as error:
            self._put_off(index, error)
            with contextlib.suppress(OSError):
                remove_tree(self._new)
            return False
        self._replace(index)
        return True

    def close(self) -> None:
        """Gives the successor up for now; what it has is kept. May be called twice."""
        if self._successor is not None:
            self._successor.close()
            self._successor = None

    def _opened(self) -> LexicalIndex:
        self._check_room()
        try:
            successor = open_lexical(self._new, self._store.header)
        except DamagedError as error:
            return self._begun_anew(error.message)
        if successor.is_outdated or not self._can_catch_up(successor):
            successor.close()
            return self._begun_anew("it is of other documents")
        return successor

    def _check_room(self) -> None:
        wanted = ROOM * disk_bytes(self._folder) - disk_bytes(self._new) + RESERVE_BYTES
        with storage_errors(self._folder):
            free = shutil.disk_usage(self._folder).free
        if free < wanted:
            raise StorageError(
                f"{self._folder}: building it anew in the current format needs {wanted:,} free "
                f"bytes, {free:,} are there: free space or move the data"
            )

    def _can_catch_up(self, successor: LexicalIndex) -> bool:
        pruned = self._store.pruned_sequence() if successor.count else 0
        return pruned <= successor.watermark <= self._store.sequence

    def _begun_anew(self, reason: str) -> LexicalIndex:
        _log.info("%s is begun anew: %s", self._new, reason)
        with storage_errors(self._new):
            remove_tree(self._new)
        return open_lexical(self._new, self._store.header)

    def _replace(self, index: LexicalIndex) -> None:
        self.close()
        # Its folder's name is the successor's in a moment.
        index.close(leaves_folder=True)
        try:
            with storage_errors(self._folder):
                remove_tree(self._old)
                rename_durably(self._folder, self._old)
                rename_durably(self._new, self._folder)
                remove_tree(self._old)
        except SidecarError as error:
            self._put_off(index, error)
        else:
            self.failure = ""
            _log.info("%s is of the current format now", self._folder)

    def _put_off(self, index: LexicalIndex, error: SidecarError) -> None:
        self.close()
        self._again = time.monotonic() + RETRY_SECONDS
        self.failure = index.successor_failure = error.message
        _log.warning("%s keeps its older format for now: %s", self._folder, error.message)
