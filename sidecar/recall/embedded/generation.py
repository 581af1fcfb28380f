"""A generation at work: a bi-encoder, the vectors that it makes of a collection's documents, and
their index.

A document written -> `encode` (unless its vector came with it) -> `catch_up` -> found by `dense`.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from sidecar.config import DenseIndexConfig
from sidecar.errors import StorageError
from sidecar.models.base import BiEncoder
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.recall.embedded.opening import open_dense_index
from sidecar.recall.encoding import document_vectors, encode_passages, passage_of
from sidecar.storage.documents import DocumentStore
from sidecar.storage.stored_generations import BiEncoderIdentity, StoredGeneration, Vector
from sidecar.types import Document, Schema

VECTOR_CHUNK_DOCUMENTS = 10_000
# A snapshot, to which only what is new is written, is due when so much has changed since the last.
SAVE_CHANGED_LEAST = 20_000
# Each search asks why there is no dense leg, and to count vectors reads all their numbers: some
# 70 ms for a million.
COUNT_SECONDS = 1.0

_NONE: Vector = np.empty((0, 0), np.float32)

InBatches = Callable[[Sequence[str]], Iterable[Sequence[str]]]

_log = logging.getLogger(__name__)


class Generation:
    """`encode` is called by one thread, `catch_up` by one, `save` by one, the rest by any.

    It is served once every document had its vector in the index at one moment; from then on
    documents are found a while after they were written, as everywhere.
    """

    def __init__(
        self,
        folder: Path,
        store: DocumentStore,
        bi_encoder: BiEncoder,
        stored: StoredGeneration,
        config: DenseIndexConfig,
        on_built: Callable[[], object] = lambda: None,
    ) -> None:
        """`folder` is the collection's; the index has one of its own in it. `on_built` is called
        whenever a better index has taken over."""
        self._on_built = on_built
        self.identity: BiEncoderIdentity = stored.bi_encoder
        self.failure = ""  # why the last attempt to encode failed
        self._stored = stored
        self._schema: Schema = store.header.schema
        self._bi_encoder = bi_encoder
        self._collection_id = store.header.collection_id
        self._folder = dense_folder(folder, stored)
        self.dense = DenseIndex.empty(stored.bi_encoder, config)
        self.repair = ""  # what was wrong with the index that was there
        self.unopened = ""  # why its index cannot be opened at present; what serves is empty then
        self._open = functools.partial(open_dense_index, self._folder, store, stored, config)
        try:
            self._open_index()
        except StorageError as error:
            _log.warning("%s is not served until it can be opened: %s", self._folder, error)
        # The index is to have everything up to this number before it is served; None: not known
        # while there are documents without a vector.
        self._awaited = stored.last_number if stored.is_encoded else None
        self._searchable_sequence = 0
        self._changed_count = 0
        self._saved_count = 0  # those of them that are in the last snapshot
        self._missing_count: int | None = None  # without a vector, when they were counted last
        self._count_again = 0.0

    # Vectors

    def vectors_of(self, documents: Sequence[Document]) -> list[Vector]:
        """See `document_vectors`."""
        return document_vectors(documents, self._bi_encoder, self._schema)

    @property
    def is_encoded(self) -> bool:
        """Whether every document has its vector."""
        return self._stored.is_encoded

    def encode(self, limit: int, in_batches: InBatches) -> int:
        """Gives up to `limit` documents their vectors, the earliest first; returns how many.

        `in_batches` gives the passages some at a time; where it fails on one, those before it keep
        their vectors. Raises ModelError, StorageError.
        """
        documents = self._stored.unencoded(limit)
        passages = [passage_of(fields, self._schema) for fields in documents.fields]
        parts: list[Vector] = []
        try:
            for batch in in_batches(passages):
                parts.append(encode_passages(self._bi_encoder, batch))
        except Exception:
            if parts:
                done = np.concatenate(parts)
                self._stored.add(documents.first(len(done)), done)
            raise
        self._stored.add(documents, np.concatenate(parts) if parts else _NONE)
        self.failure = ""
        if self._awaited is None and self.is_encoded:
            self._awaited = self._stored.last_number
        return len(passages)

    # The index

    @property
    def is_indexed(self) -> bool:
        """Whether the index has all that it is to have now: nothing while vectors are missing, and
        all of them at once then, which costs less than one small change after the other."""
        if self.unopened:
            return False
        return self._awaited is None or self.dense.watermark >= self._stored.last_number

    def catch_up(self) -> None:
        """Takes a chunk of what changed over into the index. Raises StorageError."""
        if self.unopened:
            self._open_index()
        if not self.is_indexed:
            changes = self._stored.changes(self.dense.watermark, VECTOR_CHUNK_DOCUMENTS)
            self.dense.apply(changes, self.identity)
            self._changed_count += max(len(changes.ordinals), len(changes.forget))

    @property
    def is_save_due(self) -> bool:
        """Whether much has changed since the last snapshot, or all, the index being another."""
        unsaved = self._changed_count - self._saved_count
        return unsaved >= SAVE_CHANGED_LEAST or self.dense.is_rebuilt

    def save_if_due(self) -> None:
        """Writes a snapshot if it is due. Raises StorageError."""
        if self.is_save_due:
            self.save()

    def save(self) -> None:
        """Writes a snapshot if anything has changed since the last. Raises StorageError."""
        is_saved = self.dense.watermark == self.dense.saved_watermark and not self.dense.is_rebuilt
        if not is_saved and not self.unopened:
            changed_count = self._changed_count
            self.dense.save(self._folder, self._collection_id)
            self._saved_count = changed_count

    def close(self) -> None:
        """No better index is made any more; what there is goes on serving."""
        self.dense.close()

    def _open_index(self) -> None:
        """Raises StorageError if it cannot be opened now."""
        try:
            self.dense, self.repair = self._open()
            self.dense.on_built = self._on_built
            self.unopened = ""
        except StorageError as error:
            self.unopened = error.message
            raise

    # How far it is

    @property
    def is_complete(self) -> bool:
        """Whether every document had its vector at one moment."""
        return self._awaited is not None

    @property
    def writes_behind(self) -> int:
        """How many of the writes that it is to have before it is served the index lacks; 0 while
        documents without a vector are what it lacks."""
        if self._awaited is None or self.unopened:
            return 0
        return max(0, self._awaited - self.dense.watermark)

    @property
    def is_served(self) -> bool:
        """Whether it can be searched."""
        if self.unopened:
            return False
        return self._awaited is not None and self.dense.watermark >= self._awaited

    @property
    def searchable_sequence(self) -> int:
        """All documents written up to it are found; 0 while it is not served."""
        # What is encoded rests on vectors added before; read in this order, none is missed.
        encoded, added = self._stored.encoded_sequence, self._stored.added_number
        watermark = self.dense.watermark
        if self.is_served and watermark >= added:
            reached = min(encoded, watermark)
            self._searchable_sequence = max(self._searchable_sequence, reached)
        return self._searchable_sequence

    def encoded_count(self) -> int:
        """Documents that have a vector."""
        return self._stored.count()

    def _missing(self, document_count: int) -> int:
        """Documents without a vector, as of no more than COUNT_SECONDS ago."""
        now = time.monotonic()
        if self._missing_count is None or now >= self._count_again:
            self._count_again = now + COUNT_SECONDS  # first, so that others do not count as well
            self._missing_count = max(0, document_count - self.encoded_count())
        return self._missing_count or 0

    def fault(self, document_count: int, state: str) -> str:
        """Why it cannot be served; empty if it can. `state`: how the index thread does."""
        if self.is_served:
            return ""
        if self.unopened:
            return f"the dense index cannot be opened now, which is tried again: {self.unopened}"
        if self._awaited is not None:
            behind = f"the dense index is {self.writes_behind} writes behind; {state}"
            return f"{behind}: {self.repair}" if self.repair else behind
        missing = self._missing(document_count)
        state = f"the last attempt failed: {self.failure}" if self.failure else "being encoded"
        return f"{missing} documents have no vector of {self.identity} yet; {state}"


def dense_folder(folder: Path, stored: StoredGeneration) -> Path:
    """Where in a collection's folder the index of a generation is."""
    return folder / f"dense-{stored.generation}"
