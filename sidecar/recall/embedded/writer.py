"""The writes of a collection, one after the other: check -> encode -> one transaction (durable) ->
the index thread is told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from sidecar.errors import StorageError
from sidecar.recall.checks import check_doc_ids, check_documents
from sidecar.recall.collection import Written
from sidecar.recall.embedded.derived import DerivedIndexes
from sidecar.recall.encoding import callers_vectors
from sidecar.storage.documents import DocumentStore
from sidecar.storage.stored_generations import Vector
from sidecar.types import Document


class Writer:
    """Documents are encoded side by side, written one batch at a time."""

    def __init__(self, store: DocumentStore, derived: DerivedIndexes) -> None:
        self._store = store
        self._derived = derived
        self._lock = threading.Lock()
        self._refusal = ""  # why there are no more writes

    def upsert(self, documents: Sequence[Document]) -> Written:
        """See Collection."""
        self.check_open()
        generations, schema = self._derived.generations, self._store.header.schema
        with generations.using_leading() as leading:
            identity = leading.identity if leading else generations.leading_identity
            check_documents(documents, schema, identity.dimensions if identity else None)
            vectors: Sequence[Vector | None] = [None] * len(documents)
            if leading is not None:
                vectors = leading.vectors_of(documents)
            elif identity is not None:
                vectors = callers_vectors(documents, identity.dimensions)
            with self.alone():
                self.check_open()
                sequence = self._store.write(documents, vectors, identity)
        self._derived.notify()
        return self._written(sequence, len(documents))

    def delete(self, doc_ids: Sequence[str]) -> Written:
        """See Collection."""
        self.check_open()
        check_doc_ids(doc_ids)
        with self.alone():
            self.check_open()
            sequence, ordinals = self._store.delete(doc_ids)
            self._derived.hide(ordinals, sequence)
        self._derived.notify()
        return self._written(sequence, len(ordinals))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While nothing is written; what was under way is finished before."""
        with self._lock:
            yield

    def check_open(self) -> None:
        """Raises StorageError after `stop`."""
        if self._refusal:
            name = self._store.header.name
            raise StorageError(f"{name}: {self._refusal}", collection=name)

    def stop(self, refusal: str) -> bool:
        """Refuses all further writes for a reason. False if there were none any more before."""
        with self.alone():
            if self._refusal:
                return False
            self._refusal = refusal
            return True

    def _written(self, sequence: int, count: int) -> Written:
        searchable = self._derived.searchable_sequence
        return Written(sequence, count, self._store.sequence, searchable)
