"""The writes of a collection: check -> encode -> bulk (durable) -> refresh (searchable)."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from urllib.parse import quote

from sidecar.errors import BackendUnavailableError, StorageError, UnsupportedError
from sidecar.models.base import BiEncoder
from sidecar.recall.checks import check_doc_ids, check_documents
from sidecar.recall.collection import Written
from sidecar.recall.encoding import callers_vectors, encode_passages, identity_of, passage_of
from sidecar.recall.opensearch import creation
from sidecar.recall.opensearch.bulk import BulkWriter, Change
from sidecar.recall.opensearch.client import Client
from sidecar.recall.opensearch.index import to_source, to_tombstone
from sidecar.recall.opensearch.reading import Reader
from sidecar.recall.opensearch.sequences import Sequences
from sidecar.recall.opensearch.upkeep import Tombstones
from sidecar.recall.remote import RemoteRecord
from sidecar.storage.stored_generations import Vector
from sidecar.types import Document


class Writer:
    """Of one collection; writes go side by side."""

    def __init__(
        self, client: Client, record: RemoteRecord, reader: Reader, bi_encoder: BiEncoder | None
    ) -> None:
        index = record.backend.index
        self.sequences = Sequences()
        self._client = client
        self._record = record
        self._reader = reader
        self._bi_encoder = bi_encoder
        self._path = f"/{quote(index)}"
        self._bulk = BulkWriter(client, index, self.sequences)
        self._tombstones = Tombstones(client, index)
        self._opening = threading.Lock()
        self._is_open = False
        self._attempts = 0
        self._failure: Exception | None = None  # that of the last
        self._refusal = ""  # why there are no more writes

    def open(self) -> None:
        """Looks at the index once: whether it is the one of this collection, and its last number.
        Callers that come while one looks have what becomes of that.

        Raises BackendError, BackendUnavailableError.
        """
        attempts = self._attempts
        with self._opening:
            if self._is_open:
                return
            if attempts < self._attempts and self._failure is not None:
                # It failed while this caller waited, who would only keep the next ones waiting.
                raise self._failure
            try:
                self._look()
                self._is_open = True
            except Exception as error:
                self._failure = error
                raise
            finally:
                self._attempts += 1

    def _look(self) -> None:
        creation.check(self._client, self._record)
        if not self._record.backend.read_only:
            self._reader.count()  # raises where a shard is missing, for which a refresh waits
            self._client.call("POST", f"{self._path}/_refresh")
            last = self._reader.last_sequence()
            self.sequences.seen(last)
            self.sequences.refreshed(last)

    def stop(self, refusal: str) -> None:
        """Refuses all further writes for a reason; that of the first call stays."""
        self._refusal = self._refusal or refusal

    def upsert(
        self, documents: Sequence[Document], request_id: str, expected: Sequence[int | None]
    ) -> Written:
        """See Collection. A batch that fails may be written in part: sent again, it is whole."""
        self._check(request_id, any(each is not None for each in expected))
        vectors = self._vectors_of(documents)
        changes = [self._written(*each) for each in zip(documents, vectors, strict=True)]
        versions = self._bulk.write(changes)
        return self._told(max(versions), len(documents), tuple(versions))

    def delete(self, doc_ids: Sequence[str], request_id: str, expected: Sequence[int]) -> Written:
        """See Collection. A tombstone stays of every id, so that a write of one that was broken off
        before cannot come after."""
        self._check(request_id, any(expected))
        check_doc_ids(doc_ids)
        unique = list(dict.fromkeys(doc_ids))
        stored = self._reader.stored(unique, [], as_searched=False)
        versions = self._bulk.write([_deleted(doc_id) for doc_id in unique], refresh=True)
        self._tombstones.purge_if_due()
        return self._told(max(versions) if stored else 0, len(stored), ())

    def wait_searchable(self, sequence: int, timeout_seconds: float | None) -> bool:
        """See Collection."""
        if sequence <= self.sequences.searchable:
            return True
        if self._refusal or sequence > self.sequences.latest:
            return False
        if self._record.backend.mapping:
            return True  # its documents have no sequence numbers
        started = time.monotonic()
        try:
            self.refresh(timeout_seconds)
        except BackendUnavailableError:
            if timeout_seconds is None or time.monotonic() - started < timeout_seconds:
                raise
            return False
        return True

    def refresh(self, timeout_seconds: float | None = None) -> None:
        """Makes searchable what is durable."""
        ended = self.sequences.ended
        answer = self._client.call("POST", f"{self._path}/_refresh", None, timeout_seconds)
        if answer["_shards"]["failed"]:
            raise BackendUnavailableError(
                f"index {self._record.backend.index!r}: shards are missing"
            )
        self.sequences.refreshed(ended)

    def _check(self, request_id: str, is_conditional: bool) -> None:
        name, backend = self._record.name, self._record.backend
        if self._refusal:
            raise StorageError(f"{name}: {self._refusal}", collection=name)
        if backend.read_only:
            raise UnsupportedError(
                f"collection {name!r} is read only: its index {backend.index!r} is written by "
                "others"
            )
        for what, is_asked in (("request_id", request_id), ("expected versions", is_conditional)):
            if is_asked:
                raise UnsupportedError(
                    f"collection {name!r} is kept by OpenSearch, where writes know no {what}: "
                    "leave it out; a batch may be sent again all the same"
                )
        self.open()

    def _vectors_of(self, documents: Sequence[Document]) -> Sequence[Vector | None]:
        """The callers' vectors, and for documents without one those of the bi-encoder."""
        held, schema = self._record.bi_encoder, self._record.schema
        check_documents(documents, schema, held.dimensions if held else None)
        if held is None:
            return [None] * len(documents)
        vectors = callers_vectors(documents, held.dimensions)
        bare = [one for one, own in zip(documents, vectors, strict=True) if own is None]
        if not bare:
            return vectors
        if self._bi_encoder is None or identity_of(self._bi_encoder) != held:
            raise UnsupportedError(
                f"collection {self._record.name!r} has vectors of {held}, which is not configured "
                "here: send the documents with their vectors, or to a server that has it"
            )
        passages = [passage_of(document.fields, schema) for document in bare]
        encoded = iter(encode_passages(self._bi_encoder, passages))
        return [next(encoded) if own is None else own for own in vectors]

    def _written(self, document: Document, vector: Vector | None) -> Change:
        schema = self._record.schema
        return document.doc_id, lambda number: to_source(document, schema, number, vector)

    def _told(self, sequence: int, count: int, versions: tuple[int, ...]) -> Written:
        sequences = self.sequences
        return Written(sequence, count, sequences.durable, sequences.searchable, versions)


def _deleted(doc_id: str) -> Change:
    return doc_id, lambda number: to_tombstone(doc_id, number)
