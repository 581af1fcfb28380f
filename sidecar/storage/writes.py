"""What a collection is asked to write, what it answers, and how one write is done.

Whether there is anything to do is settled first: a write that is known by its request id is
answered as it was then, and one whose documents are not as expected is refused, whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sidecar.errors import RequestIdReusedError
from sidecar.storage import statements
from sidecar.storage.stored_generations import BiEncoderIdentity, StoredGeneration, Vector
from sidecar.storage.write_ids import RequestId, find_write, prune_writes, put_write
from sidecar.types import Document, VersionConflict


@dataclass(frozen=True, slots=True)
class Terms:
    """`expected` are (doc_id, version) of documents that must have these versions, 0: not be
    stored."""

    request_id: RequestId | None = None
    expected: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, slots=True)
class Upsert:
    """Documents with different ids, and their unit vectors by a bi-encoder (None: none).

    What they had of other bi-encoders is removed; vectors of a generation that was dropped
    meanwhile are left out.
    """

    documents: Sequence[Document]
    vectors: Sequence[Vector | None]
    bi_encoder: BiEncoderIdentity | None
    terms: Terms = Terms()

    @property
    def doc_ids(self) -> Sequence[str]:
        """Of the documents that it names."""
        return [document.doc_id for document in self.documents]

    def has_all_of(self, bi_encoder: BiEncoderIdentity) -> bool:
        """Whether it leaves no document without a vector of a bi-encoder."""
        return self.bi_encoder == bi_encoder and all(each is not None for each in self.vectors)


@dataclass(frozen=True, slots=True)
class Deletion:
    """Ids of documents; those that are not stored are ignored."""

    doc_ids: Sequence[str]
    terms: Terms = Terms()

    def has_all_of(self, bi_encoder: BiEncoderIdentity) -> bool:
        """See Upsert."""
        return True


Write = Upsert | Deletion


@dataclass(frozen=True, slots=True)
class Done:
    """What a write did: its documents have the `count` numbers up to `sequence`, which is 0 if it
    changed nothing. `ordinals` are of deleted ones, `added` is how many more are stored."""

    sequence: int = 0
    count: int = 0
    added: int = 0
    ordinals: Sequence[int] = ()
    conflicts: tuple[VersionConflict, ...] = ()
    repeated: bool = False


def settle(connection: sqlite3.Connection, terms: Terms) -> Done | None:
    """The answer to a write that is not to be done; None if it is. Raises RequestIdReusedError."""
    if terms.request_id is not None:
        known = find_write(connection, terms.request_id)
        if known is not None:
            if known.digest != terms.request_id.digest:
                raise RequestIdReusedError(
                    "request_id",
                    f"{terms.request_id.text!r} stands for another write: take a new one for "
                    "every write",
                )
            return Done(known.sequence, known.count, repeated=True)
    conflicts = _conflicts(connection, terms.expected)
    return Done(conflicts=conflicts) if conflicts else None


def _conflicts(
    connection: sqlite3.Connection, expected: Sequence[tuple[str, int]]
) -> tuple[VersionConflict, ...]:
    versions = statements.versions_of(connection, dict.fromkeys(doc_id for doc_id, _ in expected))
    others = dict.fromkeys(doc_id for doc_id, wanted in expected if versions[doc_id] != wanted)
    return tuple(VersionConflict(doc_id, versions[doc_id]) for doc_id in others)


class WriteTransaction:
    """Writes within one transaction, each whole or not at all. `number` is the last one given."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        generations: Collection[StoredGeneration],
        number: int,
    ) -> None:
        self._connection = connection
        self._generations = generations
        self._first = self.number = number
        self._has_ids = False

    def do(self, write: Write) -> Done:
        """What it raises, RequestIdReusedError among it, leaves the writes before it as they are,
        if it leaves the transaction."""
        number = self.number
        self._connection.execute("SAVEPOINT one_write")
        try:
            done = settle(self._connection, write.terms) or self._do(write)
        except BaseException:
            self.number = number
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO one_write")
                self._connection.execute("RELEASE one_write")
            raise
        self._connection.execute("RELEASE one_write")
        return done

    def finish(self, keep_ids_seconds: float) -> None:
        """Once all are done."""
        if self.number != self._first:
            statements.set_meta(self._connection, "number", self.number)
            statements.set_meta(self._connection, "sequence", self.number)
        if self._has_ids:
            prune_writes(self._connection, keep_ids_seconds)

    def _do(self, write: Write) -> Done:
        done = self._upsert(write) if isinstance(write, Upsert) else self._delete(write)
        if write.terms.request_id is not None:
            put_write(self._connection, write.terms.request_id, done.sequence, done.count)
            self._has_ids = True
        return done

    def _upsert(self, write: Upsert) -> Done:
        added = 0
        for document, vector in zip(write.documents, write.vectors, strict=True):
            self.number += 1
            ordinal, is_new = statements.put_document(self._connection, document, self.number)
            statements.put_attributes(self._connection, ordinal, document.attributes)
            for generation in self._generations:
                own = vector if generation.bi_encoder == write.bi_encoder else None
                if own is not None or not is_new:
                    generation.put(self._connection, ordinal, self.number, own)
            added += is_new
        return Done(self.number, len(write.documents), added)

    def _delete(self, write: Deletion) -> Done:
        ordinals = []
        for doc_id in dict.fromkeys(write.doc_ids):
            ordinal = statements.drop_document(self._connection, doc_id)
            if ordinal is not None:
                self.number += 1
                ordinals.append(ordinal)
                statements.put_tombstone(self._connection, self.number, ordinal)
                for generation in self._generations:
                    generation.put(self._connection, ordinal, self.number, None)
        count = len(ordinals)
        return Done(self.number, count, -count, ordinals) if ordinals else Done()
