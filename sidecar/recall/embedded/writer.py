"""The writes of a collection: check -> settle -> encode -> one transaction (durable) -> the index
thread is told.

A write that is known by its request id, or whose documents are not as expected, is settled before
it is encoded, and again within the transaction, where nothing comes between.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence

from sidecar.config import WritesConfig
from sidecar.errors import StorageError
from sidecar.recall.checks import check_doc_ids, check_documents, check_expected_versions
from sidecar.recall.collection import Written
from sidecar.recall.embedded.derived import DerivedIndexes
from sidecar.recall.embedded.group_commit import GroupCommit
from sidecar.recall.encoding import callers_vectors
from sidecar.recall.request_ids import digest_of_deletion, digest_of_upsert
from sidecar.storage.documents import DocumentStore
from sidecar.storage.stored_generations import Vector
from sidecar.storage.write_ids import RequestId
from sidecar.storage.writes import Deletion, Done, Terms, Upsert, Write
from sidecar.types import Document

_log = logging.getLogger(__name__)


class MovedError(Exception):
    """The collection is kept elsewhere from now on: write there."""


class Writer:
    """Documents are encoded side by side; those that come while others are written are written
    together."""

    def __init__(self, store: DocumentStore, derived: DerivedIndexes, config: WritesConfig) -> None:
        self._store = store
        self._derived = derived
        self._keep_ids_seconds = 3600.0 * config.request_id_hours
        self._group: GroupCommit[Write, Done] = GroupCommit(self._write_all)
        self._refusal = ""  # why there are no more writes
        self._has_moved = False

    def upsert(
        self,
        documents: Sequence[Document],
        request_id: str = "",
        expected_versions: Sequence[int | None] = (),
    ) -> Written:
        """See Collection."""
        self.check_open()
        generations, schema = self._derived.generations, self._store.header.schema
        with generations.using_leading() as leading:
            identity = leading.identity if leading else generations.leading_identity
            check_documents(documents, schema, identity.dimensions if identity else None)
            check_expected_versions(
                expected_versions,
                len(documents),
                lambda at: f"documents[{at}].expected_version",
            )
            terms = _upsert_terms(documents, request_id, expected_versions)
            done = self._settle(terms)
            if done is None:
                vectors: Sequence[Vector | None] = [None] * len(documents)
                if leading is not None:
                    vectors = leading.vectors_of(documents)
                elif identity is not None:
                    vectors = callers_vectors(documents, identity.dimensions)
                done = self._group.run(Upsert(documents, vectors, identity, terms))
        versions = range(done.sequence - done.count + 1, done.sequence + 1)
        return self._written(done, tuple(versions))

    def delete(
        self,
        doc_ids: Sequence[str],
        request_id: str = "",
        expected_versions: Sequence[int] = (),
    ) -> Written:
        """See Collection."""
        self.check_open()
        check_doc_ids(doc_ids)
        check_expected_versions(
            expected_versions, len(doc_ids), lambda at: f"expected_versions[{at}]"
        )
        terms = _deletion_terms(doc_ids, request_id, expected_versions)
        done = self._settle(terms) or self._group.run(Deletion(doc_ids, terms))
        return self._written(done)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While nothing is written; what was under way is finished before."""
        with self._group.alone():
            yield

    def check_open(self) -> None:
        """Raises StorageError after `stop`, MovedError after `move`."""
        if self._has_moved:
            raise MovedError
        if self._refusal:
            name = self._store.header.name
            raise StorageError(f"{name}: {self._refusal}", collection=name)

    def move(self) -> None:
        """Those who wait, and all who come, write elsewhere. Within `alone`."""
        self._has_moved = True

    def stop(self, refusal: str) -> bool:
        """Refuses all further writes for a reason. False if there were none any more before."""
        with self.alone():
            if self._refusal:
                return False
            self._refusal = refusal
            return True

    def _settle(self, terms: Terms) -> Done | None:
        if terms.request_id is None and not terms.expected:
            return None
        return self._store.settle(terms)

    def _write_all(self, writes: Sequence[Write]) -> list[Done | Exception]:
        self.check_open()
        outcomes = self._store.write_all(writes, self._keep_ids_seconds)
        try:
            self._tell_indexes(outcomes)
        except Exception:  # what is durable is answered so, whatever the indexes do
            _log.exception(
                "%s: writes are durable, of which the indexes could not be told",
                self._store.header.name,
            )
        return outcomes

    def _tell_indexes(self, outcomes: Sequence[Done | Exception]) -> None:
        for done in outcomes:
            if isinstance(done, Done) and done.ordinals:
                self._derived.hide(done.ordinals, done.sequence)
        self._derived.notify()

    def _written(self, done: Done, versions: tuple[int, ...] = ()) -> Written:
        return Written(
            sequence=done.sequence,
            count=done.count,
            durable_sequence=self._store.sequence,
            searchable_sequence=self._derived.searchable_sequence,
            versions=versions,
            conflicts=done.conflicts,
            repeated=done.repeated,
        )


def _upsert_terms(
    documents: Sequence[Document], request_id: str, expected: Sequence[int | None]
) -> Terms:
    wanted = [
        (document.doc_id, version)
        for document, version in zip(documents, expected, strict=bool(expected))
        if version is not None
    ]
    if not request_id:
        return Terms(None, wanted)
    return Terms(RequestId(request_id, digest_of_upsert(documents, expected)), wanted)


def _deletion_terms(doc_ids: Sequence[str], request_id: str, expected: Sequence[int]) -> Terms:
    # 0: whatever is stored.
    wanted = [
        (doc_id, version)
        for doc_id, version in zip(doc_ids, expected, strict=bool(expected))
        if version
    ]
    if not request_id:
        return Terms(None, wanted)
    return Terms(RequestId(request_id, digest_of_deletion(doc_ids, expected)), wanted)
