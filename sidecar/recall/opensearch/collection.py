"""A collection that OpenSearch keeps: the documents and both indexes are there, nothing is here.

Recall is two searches, one a leg; fusion and all that follows are the sidecar's. Documents are
encoded here before they are sent. See index.py for what is kept, writes.py for how it is written,
existing.py for an index that others write.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from sidecar.config import BackendConfig
from sidecar.errors import (
    BackendUnavailableError,
    OverloadedError,
    StorageError,
    UnsupportedError,
)
from sidecar.models.base import BiEncoder
from sidecar.recall.base import Leg
from sidecar.recall.checks import check_doc_ids, check_documents
from sidecar.recall.collection import Description, Stats, Written
from sidecar.recall.encoding import callers_vectors, encode_passages, identity_of, passage_of
from sidecar.recall.one_generation import OneGeneration
from sidecar.recall.opensearch import creation
from sidecar.recall.opensearch.client import Client
from sidecar.recall.opensearch.existing import MappedLayout
from sidecar.recall.opensearch.facets import count_facets
from sidecar.recall.opensearch.index import VECTOR, to_source, to_tombstone
from sidecar.recall.opensearch.layout import ATTRIBUTES, FIELDS, Layout, OwnLayout
from sidecar.recall.opensearch.legs import OpenSearchLegs
from sidecar.recall.opensearch.reading import Reader
from sidecar.recall.opensearch.sequences import Sequences
from sidecar.recall.opensearch.upkeep import Tombstones, verify_index
from sidecar.recall.opensearch.writes import BulkWriter
from sidecar.recall.remote import RemoteRecord
from sidecar.storage.progress import Progress, unheard
from sidecar.storage.stored_generations import BiEncoderIdentity, Vector
from sidecar.types import Attribute, Document, Facet, FacetRequest, Filter, Schema

_log = logging.getLogger(__name__)


class OpenSearchCollection(OneGeneration):
    """See Collection, and RemoteKind in backends.py."""

    def __init__(
        self, record: RemoteRecord, config: BackendConfig, bi_encoder: BiEncoder | None
    ) -> None:
        """Use `open`."""
        super().__init__(record.name, record.bi_encoder)
        self._record = record
        self._schema = record.schema
        index = record.backend.index
        self._path = f"/{quote(index)}"
        self._layout = _layout(record)
        self._bi_encoder = bi_encoder
        self._config = config
        self._client = Client(record.backend.name, config)
        self._sequences = Sequences()
        self._reader = Reader(self._client, index, self._layout)
        self._writer = BulkWriter(self._client, index, self._sequences)
        self._legs = OpenSearchLegs(
            self._client,
            record,
            self._layout,
            identity_of(bi_encoder) if bi_encoder else None,
            config,
        )
        self._tombstones = Tombstones(self._client, index)
        self._opening = threading.Lock()
        self._is_checked = False
        self._refusal = ""
        self._count = 0

    # What backends.py asks of a kind

    @staticmethod
    def prepare(record: RemoteRecord, config: BackendConfig) -> RemoteRecord:
        """See RemoteKind."""
        return creation.prepare(record, config)

    @staticmethod
    def discard(record: RemoteRecord, config: BackendConfig) -> None:
        """See RemoteKind."""
        creation.discard(record, config)

    @classmethod
    def open(
        cls, record: RemoteRecord, config: BackendConfig, bi_encoder: BiEncoder | None
    ) -> Self:
        """See RemoteKind. While the backend is down the index is not looked at, but before the
        first write."""
        collection = cls(record, config, bi_encoder)
        try:
            collection._check()
        except (BackendUnavailableError, OverloadedError) as error:
            _log.warning("collection %s: its index is not looked at: %s", record.name, error)
        except BaseException:
            collection.close()
            raise
        return collection

    def retire(self) -> None:
        """Ends writes and deletes the index, if it is the sidecar's."""
        self._refusal = "the collection was dropped"
        try:
            creation.discard(self._record, self._config)
        finally:
            self._client.close()

    def moved(self, folder: Path) -> None:
        """Nothing is kept there."""

    # What it is

    @property
    def name(self) -> str:
        """See Collection."""
        return self._record.name

    @property
    def schema(self) -> Schema:
        """See Collection."""
        return self._schema

    def describe(self) -> Description:
        """See Collection."""
        identity = self._record.bi_encoder if self._bi_encoder is not None else None
        return Description(
            name=self.name,
            schema=self.schema,
            bi_encoder=identity.name if identity else "",
            bi_encoder_revision=identity.revision if identity else "",
            dimensions=identity.dimensions if identity else 0,
            document_count=self._count,
            incarnation=self._record.collection_id,
            backend=self._record.backend,
        )

    def stats(self) -> Stats:
        """See Collection. All that is durable is made searchable first, where it is not read-only.

        Raises BackendError, BackendUnavailableError.
        """
        self._check()
        self._count = self._reader.count()
        if not self._record.backend.read_only:
            self._refresh(None)
            self._count = self._reader.count()
        return Stats(
            document_count=self._count,
            durable_sequence=self._sequences.durable,
            searchable_sequence=self._sequences.searchable,
            lexical_count=self._count,
            dense_count=self._reader.vector_count(),
            disk_bytes=self._reader.disk_bytes(),
        )

    # Writes

    def upsert(
        self,
        documents: Sequence[Document],
        *,
        request_id: str = "",
        expected_versions: Sequence[int | None] = (),
    ) -> Written:
        """See Collection. A batch that fails may be written in part: sent again, it is whole."""
        self._check_write(request_id, any(each is not None for each in expected_versions))
        vectors = self._vectors_of(documents)
        changes = [
            (one.doc_id, lambda number, one=one, vector=vector: self._source(one, number, vector))
            for one, vector in zip(documents, vectors, strict=True)
        ]
        versions = self._writer.write(changes)
        return self._written(max(versions), len(documents), tuple(versions))

    def delete(
        self,
        doc_ids: Sequence[str],
        *,
        request_id: str = "",
        expected_versions: Sequence[int] = (),
    ) -> Written:
        """See Collection. A tombstone stays of every id, so that a write of one that was broken off
        before cannot come after."""
        self._check_write(request_id, any(expected_versions))
        check_doc_ids(doc_ids)
        unique = list(dict.fromkeys(doc_ids))
        stored = self._reader.stored(unique, [], as_searched=False)
        changes = [
            (doc_id, lambda number, doc_id=doc_id: to_tombstone(doc_id, number))
            for doc_id in unique
        ]
        versions = self._writer.write(changes, refresh=True)
        self._tombstones.purge_if_due()
        return self._written(max(versions) if stored else 0, len(stored), ())

    @property
    def durable_sequence(self) -> int:
        """See Collection. Other sidecars may write, too, so it is that of now."""
        return self._sequences.latest

    @property
    def searchable_sequence(self) -> int:
        """See Collection: of the writes of this sidecar."""
        return self._sequences.searchable

    def wait_searchable(self, sequence: int, timeout_seconds: float | None) -> bool:
        """See Collection. What was acknowledged before a refresh, by whichever sidecar, is
        searchable after it. Raises BackendUnavailableError, OverloadedError before its time."""
        if sequence <= self._sequences.searchable:
            return True
        if self._refusal or sequence > self._sequences.latest:
            return False
        if self._record.backend.mapping:
            return True  # its documents have no sequence numbers
        started = time.monotonic()
        try:
            self._refresh(timeout_seconds)
        except BackendUnavailableError:
            if timeout_seconds is None or time.monotonic() - started < timeout_seconds:
                raise
            return False
        return True

    # Reads

    def get(self, doc_ids: Sequence[str], include_vectors: bool = False) -> list[Document]:
        """See Collection."""
        parts = [FIELDS, ATTRIBUTES, *([VECTOR] if include_vectors else [])]
        found = self._reader.stored(doc_ids, parts, as_searched=False)
        return [found[doc_id] for doc_id in dict.fromkeys(doc_ids) if doc_id in found]

    def fields(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """See Collection."""
        found = self._reader.stored(doc_ids, [FIELDS], as_searched=True)
        return {doc_id: document.fields for doc_id, document in found.items()}

    def passages(self, doc_ids: Sequence[str]) -> Mapping[str, str]:
        """See Recaller."""
        return {
            doc_id: passage_of(fields, self._schema)
            for doc_id, fields in self.fields(doc_ids).items()
        }

    def attributes(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        """See Recaller."""
        found = self._reader.stored(doc_ids, [ATTRIBUTES], as_searched=True)
        return {doc_id: document.attributes for doc_id, document in found.items()}

    def vectors(
        self, doc_ids: Sequence[str], generation: BiEncoderIdentity | None = None
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """See Recaller."""
        if self._record.bi_encoder is None or generation not in (None, self._record.bi_encoder):
            return {}
        found = self._reader.stored(doc_ids, [VECTOR], as_searched=True)
        return {
            doc_id: np.asarray(document.vector, np.float32)
            for doc_id, document in found.items()
            if document.vector is not None
        }

    def facets(self, requests: Sequence[FacetRequest], filter: Filter | None) -> tuple[Facet, ...]:
        """See Collection. Over several shards counts may be too low, which is told."""
        return count_facets(self._reader, self._layout, self._schema, requests, filter)

    # Recall

    def lexical(
        self,
        query: str,
        filter: Filter | None,
        depth: int,
        *,
        field_weights: Mapping[str, float] | None = None,
        timeout_seconds: float | None = None,
    ) -> Leg:
        """See Recaller."""
        return self._legs.lexical(query, filter, depth, field_weights or {}, timeout_seconds)

    def dense(
        self,
        vector: npt.NDArray[np.float32],
        filter: Filter | None,
        depth: int,
        generation: BiEncoderIdentity | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> Leg:
        """See Recaller."""
        return self._legs.dense(vector, filter, depth, generation, timeout_seconds)

    # Upkeep

    def verify(self, progress: Progress = unheard) -> list[str]:
        """See Collection: what OpenSearch says of the index, and the counts of both legs. Its own
        files it checks itself."""
        return verify_index(self._client, self._record, self._reader)

    def back_up(self, folder: Path, progress: Progress = unheard) -> None:
        """Raises UnsupportedError."""
        raise UnsupportedError(
            f"collection {self.name!r} is kept by backend {self._record.backend.name!r}: take a "
            "snapshot of its index there"
        )

    @property
    def repairs(self) -> Sequence[str]:
        """See Collection."""
        return ()

    def close(self) -> None:
        """See Collection."""
        self._refusal = self._refusal or "the collection is closed"
        self._client.close()

    def _check(self) -> None:
        """Looks at the index once: whether it is the one of this collection, and its last number.

        Raises BackendError, BackendUnavailableError.
        """
        with self._opening:
            if self._is_checked:
                return
            creation.check(self._client, self._record)
            if not self._record.backend.read_only:
                self._reader.count()  # raises where a shard is missing, for which a refresh waits
                self._client.call("POST", f"{self._path}/_refresh")
                last = self._reader.last_sequence()
                self._sequences.seen(last)
                self._sequences.refreshed(last)
            self._is_checked = True

    def _check_write(self, request_id: str, is_conditional: bool) -> None:
        if self._refusal:
            raise StorageError(f"{self.name}: {self._refusal}", collection=self.name)
        if self._record.backend.read_only:
            raise UnsupportedError(
                f"collection {self.name!r} is read only: its index "
                f"{self._record.backend.index!r} is written by others"
            )
        for name, is_asked in (("request_id", request_id), ("expected versions", is_conditional)):
            if is_asked:
                raise UnsupportedError(
                    f"collection {self.name!r} is kept by OpenSearch, where writes know no {name}: "
                    "leave it out; a batch may be sent again all the same"
                )
        self._check()

    def _vectors_of(self, documents: Sequence[Document]) -> Sequence[Vector | None]:
        """The callers' vectors, and for documents without one those of the bi-encoder."""
        held = self._record.bi_encoder
        check_documents(documents, self._schema, held.dimensions if held else None)
        if held is None:
            return [None] * len(documents)
        vectors = callers_vectors(documents, held.dimensions)
        bare = [one for one, own in zip(documents, vectors, strict=True) if own is None]
        if not bare:
            return vectors
        if self._bi_encoder is None or identity_of(self._bi_encoder) != held:
            raise UnsupportedError(
                f"collection {self.name!r} has vectors of {held}, which is not configured here: "
                "send the documents with their vectors, or to a server that has it"
            )
        passages = [passage_of(document.fields, self._schema) for document in bare]
        encoded = iter(encode_passages(self._bi_encoder, passages))
        return [next(encoded) if own is None else own for own in vectors]

    def _source(self, document: Document, number: int, vector: Vector | None) -> object:
        return to_source(document, self._schema, number, vector)

    def _refresh(self, timeout_seconds: float | None) -> None:
        ended = self._sequences.ended
        answer = self._client.call("POST", f"{self._path}/_refresh", None, timeout_seconds)
        if answer["_shards"]["failed"]:
            raise BackendUnavailableError(
                f"index {self._record.backend.index!r}: shards are missing"
            )
        self._sequences.refreshed(ended)

    def _written(self, sequence: int, count: int, versions: tuple[int, ...]) -> Written:
        sequences = self._sequences
        return Written(sequence, count, sequences.durable, sequences.searchable, versions)


def _layout(record: RemoteRecord) -> Layout:
    if record.backend.mapping:
        return MappedLayout(record.schema, record.backend)
    return OwnLayout(record.schema, record.bi_encoder)
