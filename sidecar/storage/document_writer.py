"""Writes of documents: one transaction each, or one for several, and what is told of it then."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence

from sidecar.storage import statements
from sidecar.storage.database import primary_code, to_storage_error
from sidecar.storage.document_reader import DocumentReader
from sidecar.storage.stored_generations import BiEncoderIdentity, Vector
from sidecar.storage.writes import Deletion, Done, Terms, Upsert, Write, WriteTransaction, settle
from sidecar.types import Document

KEEP_IDS_SECONDS = 24 * 3600.0

_log = logging.getLogger(__name__)


class DocumentWriter(DocumentReader):
    """The documents of one collection, read and written. Writers take turns."""

    def settle(self, terms: Terms) -> Done | None:
        """The answer to a write that would not be done now; None if it would be. Raises
        RequestIdReusedError, StorageError."""
        with self._database.reading() as connection:
            return settle(connection, terms)

    def write_all(
        self, writes: Sequence[Write], keep_ids_seconds: float = KEEP_IDS_SECONDS
    ) -> list[Done | Exception]:
        """Does writes one after the other, if it can be in one transaction; durable once returned.

        One that fails (RequestIdReusedError, StorageError) leaves the others as they are.
        """
        try:
            return self._write_together(writes, keep_ids_seconds)
        except Exception as error:  # nothing was committed
            if len(writes) == 1 or self._database.is_in_doubt:
                return [error] * len(writes)
        # One that does not fit on the disk leaves room for another.
        return [done for each in writes for done in self.write_all([each], keep_ids_seconds)]

    def write(
        self,
        documents: Sequence[Document],
        vectors: Sequence[Vector | None],
        bi_encoder: BiEncoderIdentity | None,
    ) -> int:
        """Does one Upsert. Returns the sequence number of the last document."""
        return self._write_one(Upsert(documents, vectors, bi_encoder)).sequence

    def delete(self, doc_ids: Sequence[str]) -> tuple[int, list[int]]:
        """Does one Deletion. Returns the sequence number of the last one (0 if there was none) and
        the ordinals."""
        done = self._write_one(Deletion(doc_ids))
        return done.sequence, list(done.ordinals)

    def _write_one(self, write: Write) -> Done:
        (done,) = self.write_all([write])
        if isinstance(done, Exception):
            raise done
        return done

    def _write_together(
        self, writes: Sequence[Write], keep_ids_seconds: float
    ) -> list[Done | Exception]:
        with self._clock.writing:
            generations = list(self._generations.values())
            with self._database.writing() as connection:
                transaction = WriteTransaction(connection, generations, self._clock.number)
                outcomes = [self._outcome(connection, transaction, each) for each in writes]
                transaction.finish(keep_ids_seconds)
            for write in writes:
                self._ids.forget(write.doc_ids)
            for write, outcome in zip(writes, outcomes, strict=True):
                if isinstance(outcome, Done) and outcome.sequence and not outcome.repeated:
                    self._written(write, outcome)
            return outcomes

    def _outcome(
        self, connection: sqlite3.Connection, transaction: WriteTransaction, write: Write
    ) -> Done | Exception:
        """Raises what ended the transaction, or tells of the disk as a whole."""
        try:
            return transaction.do(write)
        except sqlite3.Error as error:
            if not connection.in_transaction or primary_code(error) == sqlite3.SQLITE_IOERR:
                raise
            return to_storage_error(self.path, error)
        except Exception as error:
            return error

    def _written(self, write: Write, done: Done) -> None:
        """It was committed."""
        for generation in self._generations.values():
            try:
                generation.written(done.sequence, write.has_all_of(generation.bi_encoder))
            except Exception:  # it is durable all the same
                _log.exception(
                    "%s: %s was not told of a durable write", self.path, generation.bi_encoder
                )
        self._clock.number = self._clock.sequence = done.sequence
        self.count += done.added

    def prune(self, upto: int) -> None:
        """Forgets deletions up to a number that all derived indexes have on disk."""
        with self._clock.writing, self._database.writing() as connection:
            if statements.drop_tombstones(connection, upto):
                statements.set_meta(connection, "pruned_sequence", upto)
