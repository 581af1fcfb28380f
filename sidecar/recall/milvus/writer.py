"""The writes of a collection that Milvus keeps: check -> encode -> sequence numbers -> one call.

Milvus compares no versions. The sidecar is the only one that writes, one batch at a time, so it
reads those that a write expects before it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from sidecar.errors import ModelChangeError, StorageError, UnsupportedError
from sidecar.models.base import BiEncoder
from sidecar.recall.checks import check_doc_ids, check_documents, check_expected_versions
from sidecar.recall.collection import Written
from sidecar.recall.encoding import callers_vectors, document_vectors, identity_of
from sidecar.recall.milvus.clock import Clock
from sidecar.recall.milvus.expressions import SEQUENCE
from sidecar.recall.milvus.index import MilvusIndex
from sidecar.recall.milvus.rows import VECTOR, Vector, to_rows
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Document, Schema, VersionConflict


class MilvusWriter:
    """Documents are encoded side by side, written one batch at a time."""

    def __init__(
        self,
        index: MilvusIndex,
        schema: Schema,
        identity: BiEncoderIdentity | None,
        bi_encoder: BiEncoder | None,
    ) -> None:
        self._index = index
        self._schema = schema
        self._identity = identity
        self._bi_encoder = bi_encoder
        self._clock = Clock(index.has_beyond)
        self._alone = threading.Lock()
        self._refusal = ""  # why there are no more writes

    @property
    def last_sequence(self) -> int:
        """No write was given a higher number; all up to it are kept, and seen by every read."""
        return self._clock.last

    def upsert(
        self, documents: Sequence[Document], request_id: str, expected: Sequence[int | None]
    ) -> Written:
        """See Collection. Raises BackendUnavailableError, BackendError; it may be written then."""
        _refuse_request_id(request_id)
        check_expected_versions(
            expected, len(documents), lambda at: f"documents[{at}].expected_version"
        )
        dimensions = self._identity.dimensions if self._identity else None
        check_documents(documents, self._schema, dimensions)
        rows = to_rows(documents, self._schema)
        if self._identity is not None:
            for row, vector in zip(rows, self._vectors(documents, self._identity), strict=True):
                row[VECTOR] = vector
        doc_ids = [document.doc_id for document in documents]
        with self._alone:
            self._check_open()
            if conflicts := self._conflicts(dict(zip(doc_ids, expected, strict=bool(expected)))):
                return self._written(0, 0, conflicts=conflicts)
            first = self._clock.take(len(rows))
            for position, row in enumerate(rows):
                row[SEQUENCE] = first + position
            self._index.write(rows)
        versions = tuple(row[SEQUENCE] for row in rows)
        return self._written(versions[-1], len(rows), versions)

    def delete(self, doc_ids: Sequence[str], request_id: str, expected: Sequence[int]) -> Written:
        """See Collection, and `upsert`."""
        _refuse_request_id(request_id)
        check_doc_ids(doc_ids)
        check_expected_versions(expected, len(doc_ids), lambda at: f"expected_versions[{at}]")
        # 0 says nothing here.
        wanted = {d: v or None for d, v in zip(doc_ids, expected, strict=bool(expected))}
        with self._alone:
            self._check_open()
            if conflicts := self._conflicts(wanted):
                return self._written(0, 0, conflicts=conflicts)
            stored = list(self._index.rows(doc_ids, []))
            if not stored:
                return self._written(0, 0)
            first = self._clock.take(len(stored))
            self._index.delete(stored)
        return self._written(first + len(stored) - 1, len(stored))

    def stop(self, refusal: str) -> None:
        """Refuses all further writes for a reason; the one under way is finished."""
        with self._alone:
            self._refusal = self._refusal or refusal

    def _check_open(self) -> None:
        if self._refusal:
            raise StorageError(self._refusal)

    def _vectors(
        self, documents: Sequence[Document], identity: BiEncoderIdentity
    ) -> Sequence[Vector]:
        """Of the bi-encoder that the collection was created with: Milvus keeps no document without.

        Raises ModelChangeError if it is not the configured one and the caller has none either.
        """
        if self._bi_encoder is not None and identity_of(self._bi_encoder) == identity:
            return document_vectors(documents, self._bi_encoder, self._schema)
        vectors = callers_vectors(documents, identity.dimensions)
        given = [vector for vector in vectors if vector is not None]
        if len(given) < len(vectors):
            raise ModelChangeError(
                f"the collection's vectors are of {identity}, which is not configured, and Milvus "
                "keeps no document without one: configure it, or send vectors of it"
            )
        return given

    def _conflicts(self, expected: Mapping[str, int | None]) -> tuple[VersionConflict, ...]:
        asked = {doc_id: version for doc_id, version in expected.items() if version is not None}
        if not asked:
            return ()
        stored = self._index.rows(list(asked), [SEQUENCE])
        held = {doc_id: stored[doc_id][SEQUENCE] if doc_id in stored else 0 for doc_id in asked}
        return tuple(
            VersionConflict(doc_id, held[doc_id])
            for doc_id, version in asked.items()
            if held[doc_id] != version
        )

    def _written(
        self,
        sequence: int,
        count: int,
        versions: tuple[int, ...] = (),
        conflicts: tuple[VersionConflict, ...] = (),
    ) -> Written:
        last = self._clock.last
        return Written(sequence, count, last, last, versions, conflicts)


def _refuse_request_id(request_id: str) -> None:
    if request_id:
        raise UnsupportedError(
            "Milvus keeps no request ids: leave request_id out and use expected_version, or keep "
            "the collection elsewhere"
        )
