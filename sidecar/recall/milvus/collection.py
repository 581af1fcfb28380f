"""A collection that Milvus keeps: it holds the documents and recalls, the sidecar does all else.

One sidecar writes it. Each of its reads waits for what it wrote, so what is acknowledged is
searchable at once, and what was deleted is found by nobody.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from sidecar.config import BackendConfig
from sidecar.errors import BackendUnavailableError, OverloadedError, UnsupportedError
from sidecar.models.base import BiEncoder
from sidecar.recall.collection import Description, Stats
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
from sidecar.recall.remote import RemoteRecord
from sidecar.recall.remote_collection import RemoteCollection
from sidecar.storage.progress import Progress, unheard
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Attribute, Document, Facet, FacetRequest, Filter

# The list of all collections does not wait longer for the count of one.
LOOK_SECONDS = 1.0


class MilvusCollection(RemoteCollection):
    """A Collection, and what the catalog asks of those that it keeps (backends.py)."""

    _writer: MilvusWriter

    def __init__(
        self, record: RemoteRecord, index: MilvusIndex, bi_encoder: BiEncoder | None
    ) -> None:
        """Use `open`."""
        schema, identity = record.schema, record.bi_encoder
        super().__init__(
            record,
            MilvusWriter(index, schema, identity, bi_encoder),
            MilvusLegs(index, schema, identity, bi_encoder),
            bi_encoder is not None,
        )
        self._index = index

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

    # What it is

    def describe(self) -> Description:
        """See Collection. While Milvus does not answer the count is that of the last look."""
        with contextlib.suppress(BackendUnavailableError, OverloadedError):
            self._count = self._index.count(LOOK_SECONDS)
        return super().describe()

    def stats(self) -> Stats:
        """See Collection. What it takes on Milvus' disks is not known: 0."""
        self._count = count = self._index.count()
        return Stats(
            document_count=count,
            durable_sequence=self.durable_sequence,
            searchable_sequence=self.searchable_sequence,
            lexical_count=count,
            dense_count=count if self._record.bi_encoder is not None else 0,
            disk_bytes=0,
        )

    # Writes

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
        if include_vectors and self._record.bi_encoder is not None:
            columns.append(VECTOR)
        rows = self._index.rows(doc_ids, columns)
        wanted = dict.fromkeys(doc_ids)
        return [to_document(rows[doc_id], self.schema) for doc_id in wanted if doc_id in rows]

    def fields(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """See Collection."""
        rows = self._index.rows(doc_ids, [FIELDS])
        return {doc_id: to_fields(row) for doc_id, row in rows.items()}

    def attributes(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        """See Recaller."""
        rows = self._index.rows(doc_ids, [ATTRIBUTES])
        return {doc_id: to_attributes(row, self.schema) for doc_id, row in rows.items()}

    def vectors(
        self, doc_ids: Sequence[str], generation: BiEncoderIdentity | None = None
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """See Recaller."""
        if not self._has_vectors_of(generation):
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
        check_facets(requests, self.schema)
        if requests:
            self.check_can_count()
        return ()

    # Upkeep

    def verify(self, progress: Progress = unheard) -> list[str]:
        """See Collection. Whether Milvus has the index as it was made; of its files it answers
        for itself."""
        progress("compares the index with the schema", 0, 1)
        return self._index.differences(self.schema, dimensions_of(self._record))

    def back_up(self, folder: Path, progress: Progress = unheard) -> None:
        """Raises UnsupportedError."""
        raise UnsupportedError(f"{self.name} is kept by Milvus: back it up there (milvus-backup)")

    def close(self) -> None:
        """See Collection."""
        super().close()
        self._index.close()

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
