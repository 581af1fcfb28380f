"""What a collection that another server keeps does in the same way whichever server it is.

It is put together from a writer and the two legs of one backend: writes pass its gate, or go to
where it has moved; recall is handed on; what is said of it is in its record.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sidecar.recall.base import Leg
from sidecar.recall.collection import Collection, Description, Written
from sidecar.recall.encoding import passage_of
from sidecar.recall.one_generation import OneGeneration
from sidecar.recall.remote import RemoteRecord
from sidecar.recall.write_gate import WriteGate
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Document, Filter, Schema


class RemoteWriter(Protocol):
    """Writes to one backend. What is written, returned and raised: see Collection."""

    def upsert(
        self, documents: Sequence[Document], request_id: str, expected: Sequence[int | None]
    ) -> Written:
        """See Collection."""

    def delete(self, doc_ids: Sequence[str], request_id: str, expected: Sequence[int]) -> Written:
        """See Collection."""

    def stop(self, refusal: str) -> None:
        """Refuses all further writes for a reason; that of the first call stays."""


class RemoteLegs(Protocol):
    """Recall at one backend. See Recaller."""

    def lexical(
        self,
        query: str,
        filter: Filter | None,
        depth: int,
        field_weights: Mapping[str, float] | None,
        timeout_seconds: float | None,
    ) -> Leg:
        """See Recaller."""

    def dense(
        self,
        vector: npt.NDArray[np.float32],
        filter: Filter | None,
        depth: int,
        generation: BiEncoderIdentity | None,
        timeout_seconds: float | None,
    ) -> Leg:
        """See Recaller."""


class RemoteCollection(OneGeneration, ABC):
    """A HoldableCollection, but for what only its backend can tell: counts, reads and upkeep."""

    def __init__(
        self, record: RemoteRecord, writer: RemoteWriter, legs: RemoteLegs, has_bi_encoder: bool
    ) -> None:
        """`has_bi_encoder`: whether the server has any configured."""
        super().__init__(record.name, record.bi_encoder)
        self._record = record
        self._writer = writer
        self._legs = legs
        self._has_bi_encoder = has_bi_encoder
        self._gate = WriteGate()
        self._count = 0  # of documents, when they were last counted

    @property
    def name(self) -> str:
        """See Collection."""
        return self._record.name

    @property
    def schema(self) -> Schema:
        """See Collection."""
        return self._record.schema

    def describe(self) -> Description:
        """See Collection. The count is that of the last look."""
        identity = self._record.bi_encoder if self._has_bi_encoder else None
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

    # Writes

    def upsert(
        self,
        documents: Sequence[Document],
        *,
        request_id: str = "",
        expected_versions: Sequence[int | None] = (),
    ) -> Written:
        """See Collection, and the backend's writer."""
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
        """See Collection, and the backend's writer."""
        with self._gate.passing() as successor:
            if successor is None:
                return self._writer.delete(doc_ids, request_id, expected_versions)
        return successor.delete(doc_ids, request_id=request_id, expected_versions=expected_versions)

    # Reads

    @abstractmethod
    def fields(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """See Collection."""

    def passages(self, doc_ids: Sequence[str]) -> Mapping[str, str]:
        """See Recaller."""
        return {
            doc_id: passage_of(fields, self.schema)
            for doc_id, fields in self.fields(doc_ids).items()
        }

    def _has_vectors_of(self, generation: BiEncoderIdentity | None) -> bool:
        """Whether it has those of a bi-encoder (None: of whichever it is)."""
        held = self._record.bi_encoder
        return held is not None and generation in (None, held)

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
        """See Recaller, and the backend's legs."""
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
        """See Recaller, and the backend's legs."""
        return self._legs.dense(vector, filter, depth, generation, timeout_seconds)

    # Migration

    def held(self) -> AbstractContextManager[None]:
        """See HoldableCollection."""
        return self._gate.held()

    def hand_over(self, successor: Collection) -> None:
        """See HoldableCollection."""
        self._gate.hand_over(successor)

    # Upkeep

    @property
    def repairs(self) -> Sequence[str]:
        """See Collection. What is at the backend is built by the backend."""
        return ()

    def retire(self) -> None:
        """See KeptCollection."""
        self._writer.stop("the collection was dropped")

    def close(self) -> None:
        """See Collection."""
        self._writer.stop("the collection is closed")
