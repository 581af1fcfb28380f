"""The two indexes that are derived from a collection's documents, and the thread that derives them.

A write commits to the truth and calls `notify`. The thread then reads everything above each index's
watermark, however much has piled up, and applies it; the watermark goes into the same commit, so
after a crash an index is at most behind, and is caught up by the same step. An index that cannot
be opened is set aside and built from the truth. A leg is served once its index has all that the
truth had when the collection was opened.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from sidecar.config import DenseIndexConfig
from sidecar.errors import StorageError
from sidecar.recall.dense import DenseIndex
from sidecar.recall.lexical import LexicalIndex, open_lexical
from sidecar.storage.documents import DocumentStore
from sidecar.storage.files import set_aside

LEXICAL_FOLDER = "lexical"
DENSE_FOLDER = "dense"
TEXT_CHUNK_DOCUMENTS = 5_000
TEXT_CHUNK_CHARACTERS = 32_000_000
VECTOR_CHUNK_DOCUMENTS = 10_000
# A dense snapshot is written when so much, and this share of it, has changed since the last.
SAVE_CHANGED_LEAST = 20_000
SAVE_CHANGED_SHARE = 0.25
MAX_RETRY_SECONDS = 30.0

_log = logging.getLogger(__name__)


class DerivedIndexes:
    """Both indexes; `dense` is None where the collection has no vectors that can be searched.

    `complete_vectors` gives some documents without a vector theirs and returns whether any are
    left; the dense leg waits for that. It is None where no vectors can be made or searched.
    """

    def __init__(
        self,
        folder: Path,
        store: DocumentStore,
        config: DenseIndexConfig,
        complete_vectors: Callable[[], bool] | None,
    ) -> None:
        self._folder = folder
        self._store = store
        self._config = config
        self._complete_vectors = complete_vectors
        self._changed = threading.Condition()
        self._closing = False
        self._hidden: dict[int, int] = {}
        self._vectors_incomplete = (
            complete_vectors is not None and store.vector_count() < store.count
        )
        self.failure = ""
        self.repairs: list[str] = []
        self.lexical = self._open_lexical()
        try:
            self.dense = self._open_dense() if complete_vectors is not None else None
        except BaseException:
            self.lexical.close()
            raise
        self._lexical_ready = self._dense_ready = store.sequence
        self._thread = threading.Thread(target=self._run, name=f"index {folder.name}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def notify(self) -> None:
        """The truth has changed."""
        with self._changed:
            self._changed.notify_all()

    def hide(self, ordinals: Iterable[int], sequence: int) -> None:
        """Documents deleted by a write are asked for in excess until the indexes forget them."""
        with self._changed:
            if sequence > self.searchable_sequence:
                self._hidden |= dict.fromkeys(ordinals, sequence)

    @property
    def hidden_count(self) -> int:
        """Deleted documents that an index may still hold."""
        return len(self._hidden)

    @property
    def searchable_sequence(self) -> int:
        """All writes up to it are in both indexes; 0 while a leg is not served."""
        if self._vectors_incomplete or self._writes_behind():
            return 0
        lexical = self.lexical.watermark
        return lexical if self.dense is None else min(lexical, self.dense.watermark)

    def wait_searchable(self, sequence: int, timeout_seconds: float | None) -> bool:
        """Whether a write is searchable, after waiting for it at most so long (None: as needed)."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.searchable_sequence >= sequence or self._closing, timeout_seconds
            )
        return self.searchable_sequence >= sequence

    def wait_ready(self, most_writes: int, timeout_seconds: float) -> None:
        """Waits until both legs have what was there at the start, if that is not too many writes.

        Documents without a vector are not waited for: to encode them may take hours.
        """
        with self._changed:
            if self._writes_behind() <= most_writes:
                self._changed.wait_for(
                    lambda: self._writes_behind() == 0 or self._closing, timeout_seconds
                )

    def lexical_fault(self) -> str:
        """Why the lexical leg cannot be served; empty if it can."""
        behind = self._lexical_ready - self.lexical.watermark
        return f"the lexical index is {behind} writes behind; {self._state()}" if behind > 0 else ""

    def dense_fault(self) -> str:
        """Why the dense leg cannot be served; empty if it can."""
        if self.dense is None:
            return "the collection has no vectors of the configured bi-encoder"
        if self._vectors_incomplete:
            missing = self._store.count - self._store.vector_count()
            return f"{missing} documents have no vector yet; {self._state()}"
        behind = self._dense_ready - self.dense.watermark
        return f"the dense index is {behind} writes behind; {self._state()}" if behind > 0 else ""

    def close(self, save: bool = True) -> None:
        """Stops the thread, writes a snapshot of the dense index if it changed, closes both."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        if save:
            try:
                self._save(only_if_due=False)
            except StorageError as error:
                _log.warning("%s: no snapshot, the next start replays: %s", self._folder, error)
        self.lexical.close()
        # Nobody who was dropped is kept alive by what it lent.
        self._complete_vectors = None

    def _run(self) -> None:
        """Catches up whenever there is something to catch up with; a failure is tried again."""
        delay = 0.0
        while self._wait_for_work(delay):
            try:
                self._catch_up()
                self.failure, delay = "", 0.0
            except Exception as error:
                # Nothing is lost: the truth has it all. The legs go on with what they have.
                _log.exception("indexing of %s failed", self._folder)
                self.failure, delay = str(error), min(MAX_RETRY_SECONDS, 2 * delay + 1.0)

    def _wait_for_work(self, delay: float) -> bool:
        with self._changed:
            if delay:
                self._changed.wait_for(lambda: self._closing, delay)
            self._changed.wait_for(lambda: self._closing or self._has_work())
            return not self._closing

    def _has_work(self) -> bool:
        return self._vectors_incomplete or self.searchable_sequence < self._store.sequence

    def _catch_up(self) -> None:
        while self._has_work() and not self._closing:
            steps = (self._step_lexical, self._step_dense, self._step_vectors)
            # One index that fails does not hold the other back.
            failures = [failure for step in steps if (failure := _failure_of(step))]
            self._advance()
            if failures:
                raise failures[0]
        if self.dense is not None and not self._closing:
            self.dense.settle()
            self._save(only_if_due=True)

    def _step_lexical(self) -> None:
        if self.lexical.watermark < self._store.sequence:
            self.lexical.apply(
                self._store.text_changes(
                    self.lexical.watermark, TEXT_CHUNK_DOCUMENTS, TEXT_CHUNK_CHARACTERS
                )
            )

    def _step_dense(self) -> None:
        if self.dense is not None and self.dense.watermark < self._store.sequence:
            bi_encoder = self.dense.bi_encoder
            changes = self._store.vector_changes(
                self.dense.watermark, VECTOR_CHUNK_DOCUMENTS, bi_encoder.dimensions
            )
            self.dense.apply(changes, bi_encoder)

    def _step_vectors(self) -> None:
        if self._vectors_incomplete and self._complete_vectors is not None:
            incomplete = self._complete_vectors()
            with self._changed:
                self._dense_ready = self._store.sequence
                self._vectors_incomplete = incomplete

    def _advance(self) -> None:
        with self._changed:
            searchable = self.searchable_sequence
            self._hidden = {o: s for o, s in self._hidden.items() if s > searchable}
            self._changed.notify_all()

    def _save(self, only_if_due: bool) -> None:
        saved = self.lexical.watermark
        if self.dense is not None:
            changed = self.dense.watermark - self.dense.saved_watermark
            due = max(SAVE_CHANGED_LEAST, SAVE_CHANGED_SHARE * self.dense.count)
            if changed == 0 or (only_if_due and changed < due):
                return
            self.dense.save(self._folder / DENSE_FOLDER, self._store.header.collection_id)
            saved = min(saved, self.dense.saved_watermark)
        self._store.prune(saved)

    def _open_lexical(self) -> LexicalIndex:
        folder = self._folder / LEXICAL_FOLDER
        try:
            index = open_lexical(folder, self._store.header)
            try:
                self._check_watermark(index.watermark, index.count)
            except StorageError:
                index.close()
                raise
            return index
        except StorageError as error:
            self._repair("lexical", folder, error)
        return open_lexical(folder, self._store.header)

    def _open_dense(self) -> DenseIndex:
        folder = self._folder / DENSE_FOLDER
        header = self._store.header
        assert header.bi_encoder is not None
        try:
            index = DenseIndex.open(folder, header.collection_id, header.bi_encoder, self._config)
            self._check_watermark(index.watermark, index.count)
            return index
        except StorageError as error:
            self._repair("dense", folder, error)
        return DenseIndex.empty(header.bi_encoder, self._config)

    def _repair(self, which: str, folder: Path, error: StorageError) -> None:
        aside = set_aside(folder)
        self.repairs.append(
            f"the {which} index could not be used and is built anew from the documents, the old "
            f"one is kept as {aside}: {error.message}"
        )
        _log.warning("%s", self.repairs[-1])

    def _check_watermark(self, watermark: int, count: int) -> None:
        """Raises StorageError if an index cannot catch up by what the truth still knows."""
        pruned = self._store.pruned_sequence()
        if watermark > self._store.sequence or (count and watermark < pruned):
            raise StorageError(
                f"its watermark is {watermark}, the documents know writes {pruned} to "
                f"{self._store.sequence}"
            )

    def _writes_behind(self) -> int:
        """How many of the writes that were there at the start the slower leg lacks."""
        behind = self._lexical_ready - self.lexical.watermark
        if self.dense is not None and not self._vectors_incomplete:
            behind = max(behind, self._dense_ready - self.dense.watermark)
        return max(0, behind)

    def _state(self) -> str:
        return f"the last attempt failed: {self.failure}" if self.failure else "being indexed"


def _failure_of(step: Callable[[], None]) -> Exception | None:
    try:
        step()
    except Exception as error:
        return error
    return None
