"""A collection that Milvus keeps: it holds the documents and recalls, the sidecar does all else.

One sidecar writes it. Each of its reads waits for what it wrote, so what is acknowledged is
searchable at once, and what was deleted is found by nobody.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from sidecar.config import BackendConfig
from sidecar.errors import BackendUnavailableError, OverloadedError, UnsupportedError
from sidecar.models.base import BiEncoder
from sidecar.recall.base import Leg
from sidecar.recall.collection import Collection, Description, Stats, Written
from sidecar.recall.encoding import identity_of, passage_of
from sidecar.recall.facets import check_facets
from sidecar.recall.milvus.connection import Connection
from sidecar.recall.milvus.expressions import SEQUENCE
from sidecar.recall.milvus.index import MilvusIndex, index_name
from sidecar.recall.milvus.legs import MilvusLegs
from sidecar.recall.milvus.rows import (
    ATTRIBUTES,
    FIELDS,
    VECTOR,
    to_attributes,
    to_document,
    to_fields,
    to_vector,
)
from sidecar.recall.milvus.writer import MilvusWriter
from sidecar.recall.one_generation import OneGeneration
from sidecar.recall.remote import RemoteRecord
from sidecar.recall.write_gate import WriteGate
from sidecar.storage.progress import Progress, unheard
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Attribute, Document, Facet, FacetRequest, Filter, Schema

# The list of all collections does not wait longer for the count of one.
LOOK_SECONDS = 1.0


class MilvusCollection(OneGeneration):
    """A Collection, and what the catalog asks of those that it keeps (backends.py)."""

    def __init__(
        self, record: RemoteRecord, index: MilvusIndex, bi_encoder: BiEncoder | None
    ) -> None:
        """Use `open`."""
        super().__init__(record.name, record.bi_encoder)
        self._record = record
        self._schema = record.schema
        self._index = index
        self._identity = record.bi_encoder
        self._configured = identity_of(bi_encoder) if bi_encoder is not None else None
        self._legs = MilvusLegs(index, self._schema, self._identity, bi_encoder)
        self._writer = MilvusWriter(index, self._schema, self._identity, bi_encoder)
        self._gate = WriteGate()
        self._count = 0

    @classmethod
    def prepare(cls, record: RemoteRecord, config: BackendConfig) -> RemoteRecord:
        """See RemoteKind. Raises UnsupportedError for an index that others made or write."""
        backend = record.backend
        if backend.mapping or backend.read_only:
            raise UnsupportedError(
                "collections that others write cannot be read from Milvus: leave mapping and "
                "read_only out"
            )
        name = index_name(backend.index, f"sidecar-{record.name}")
        record = dataclasses.replace(record, backend=dataclasses.replace(backend, index=name))
        with contextlib.closing(_index(record, config)) as index:
            index.create(record.schema, dimensions_of(record))
        return record

    @classmethod
    def discard(cls, record: RemoteRecord, config: BackendConfig) -> None:
        """See RemoteKind."""
        with contextlib.closing(_index(record, config)) as index:
            index.drop()

    @classmethod
    def open(
        cls, record: RemoteRecord, config: BackendConfig, bi_encoder: BiEncoder | None
    ) -> Self:
        """See RemoteKind."""
        return cls(record, _index(record, config), bi_encoder)

    @property
    def name(self) -> str:
        """See Collection."""
        return self._record.name

    @property
    def schema(self) -> Schema:
        """See Collection."""
        return self._schema

    def describe(self) -> Description:
        """See Collection. While Milvus does not answer the count is that of the last look."""
        with contextlib.suppress(BackendUnavailableError, OverloadedError):
            self._count = self._index.count(LOOK_SECONDS)
        identity = self._identity if self._configured is not None else None
        return Description(
            name=self.name,
            schema=self._schema,
            bi_encoder=identity.name if identity else "",
            bi_encoder_revision=identity.revision if identity else "",
            dimensions=identity.dimensions if identity else 0,
            document_count=self._count,
            incarnation=self._record.collection_id,
            backend=self._record.backend,
        )

    def stats(self) -> Stats:
        """See Collection. What it takes on Milvus' disks is not known: 0."""
        self._count = count = self._index.count()
        return Stats(
            document_count=count,
            durable_sequence=self.durable_sequence,
            searchable_sequence=self.searchable_sequence,
            lexical_count=count,
            dense_count=count if self._identity is not None else 0,
            disk_bytes=0,
        )

    # Writes

    def upsert(
        self,
        documents: Sequence[Document],
        *,
        request_id: str = "",
        expected_versions: Sequence[int | None] = (),
    ) -> Written:
        """See Collection. Raises BackendUnavailableError, BackendError; it may be written then."""
        with self._gate.passing() as successor:
            if successor is None:
                return self._writer.upsert(documents, request_id, expected_versions)
        return successor.upsert(
            documents, request_id=request_id, expected_versions=expected_versions
        )

    def delete(
        self,
        doc_ids: Sequence[str],
        *,
        request_id: str = "",
        expected_versions: Sequence[int] = (),
    ) -> Written:
        """See Collection, and `upsert`."""
        with self._gate.passing() as successor:
            if successor is None:
                return self._writer.delete(doc_ids, request_id, expected_versions)
        return successor.delete(doc_ids, request_id=request_id, expected_versions=expected_versions)

    @property
    def durable_sequence(self) -> int:
        """See Collection."""
        return self._writer.last_sequence

    @property
    def searchable_sequence(self) -> int:
        """See Collection: reads wait for what was written."""
        return self._writer.last_sequence

    def wait_searchable(self, sequence: int, timeout_seconds: float | None) -> bool:
        """See Collection. There is nothing to wait for."""
        return sequence <= self.searchable_sequence

    # Reads

    def get(self, doc_ids: Sequence[str], include_vectors: bool = False) -> list[Document]:
        """See Collection."""
        columns = [SEQUENCE, FIELDS, ATTRIBUTES]
        if include_vectors and self._identity is not None:
            columns.append(VECTOR)
        rows = self._index.rows(doc_ids, columns)
        wanted = dict.fromkeys(doc_ids)
        return [to_document(rows[doc_id], self._schema) for doc_id in wanted if doc_id in rows]

    def fields(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """See Collection."""
        rows = self._index.rows(doc_ids, [FIELDS])
        return {doc_id: to_fields(row) for doc_id, row in rows.items()}

    def passages(self, doc_ids: Sequence[str]) -> Mapping[str, str]:
        """See Recaller."""
        return {
            doc_id: passage_of(fields, self._schema)
            for doc_id, fields in self.fields(doc_ids).items()
        }

    def attributes(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        """See Recaller."""
        rows = self._index.rows(doc_ids, [ATTRIBUTES])
        return {doc_id: to_attributes(row, self._schema) for doc_id, row in rows.items()}

    def vectors(
        self, doc_ids: Sequence[str], generation: BiEncoderIdentity | None = None
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """See Recaller."""
        if self._identity is None or generation not in (None, self._identity):
            return {}
        rows = self._index.rows(doc_ids, [VECTOR])
        return {doc_id: to_vector(row) for doc_id, row in rows.items()}

    def check_can_count(self) -> None:
        """See Collection: it cannot."""
        raise UnsupportedError(
            "Milvus does not count the values of all documents that match: count those of the "
            "fused ranking (scope RECALLED)"
        )

    def facets(self, requests: Sequence[FacetRequest], filter: Filter | None) -> tuple[Facet, ...]:
        """See Collection. Raises UnsupportedError for any."""
        check_facets(requests, self._schema)
        if requests:
            self.check_can_count()
        return ()

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
        """See Recaller. Raises UnsupportedError for field weights."""
        return self._legs.lexical(query, filter, depth, field_weights, timeout_seconds)

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

    # Migration

    def held(self) -> AbstractContextManager[None]:
        """See HoldableCollection."""
        return self._gate.held()

    def hand_over(self, successor: Collection) -> None:
        """See HoldableCollection."""
        self._gate.hand_over(successor)

    # Upkeep

    def verify(self, progress: Progress = unheard) -> list[str]:
        """See Collection. Whether Milvus has the index as it was made; of its files it answers
        for itself."""
        progress("compares the index with the schema", 0, 1)
        return self._index.differences(self._schema, dimensions_of(self._record))

    def back_up(self, folder: Path, progress: Progress = unheard) -> None:
        """Raises UnsupportedError."""
        raise UnsupportedError(f"{self.name} is kept by Milvus: back it up there (milvus-backup)")

    @property
    def repairs(self) -> Sequence[str]:
        """See Collection. Milvus says nothing of the kind."""
        return ()

    def close(self) -> None:
        """See Collection."""
        self._writer.stop("the collection is closed")
        self._index.close()

    def retire(self) -> None:
        """See KeptCollection."""
        self._writer.stop("the collection was dropped")

    def moved(self, folder: Path) -> None:
        """See KeptCollection."""
        try:
            self._index.drop()
        finally:
            self._index.close()


def dimensions_of(record: RemoteRecord) -> int | None:
    """Those of its vectors; None: it has none."""
    return record.bi_encoder.dimensions if record.bi_encoder else None


def _index(record: RemoteRecord, config: BackendConfig) -> MilvusIndex:
    # That of a creation which was broken off may be as it was asked for.
    name = index_name(record.backend.index, f"sidecar-{record.name}")
    return MilvusIndex(Connection(record.backend.name, config), name, record.collection_id)
