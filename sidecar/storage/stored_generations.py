"""A generation: the vectors that one bi-encoder made of a collection's documents.

A document gets its vector of the leading generation with its write, those of others later; whatever
rewrites or deletes a document removes the vectors of its old text from all. Each change has a
number of the collection's clock, so that an index that has everything up to number n catches up by
`changes(n)`.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidecar.storage import rows, statements
from sidecar.storage.damage import DamageLog, damage_of
from sidecar.storage.database import Database
from sidecar.storage.statements import DocumentRow, VectorRow
from sidecar.storage.tables import create_vectors_table, vectors_table
from sidecar.storage.versions import Rows, Versions, read_versions, to_rows

Vector = npt.NDArray[np.float32]
EMPTY_CHUNK_DOCUMENTS = 2_000
EMPTY_REST_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class BiEncoderIdentity:
    """Whose vectors a generation holds."""

    name: str
    revision: str
    dimensions: int

    def __str__(self) -> str:
        return f"{self.name} at revision {self.revision}"


@dataclass(frozen=True, slots=True)
class Unencoded:
    """Documents that have no vector of a generation, in the order they were written.

    `versions` are (ordinal, sequence). Once these have one, all written up to `upto` have.
    """

    versions: Sequence[tuple[int, int]]
    fields: Sequence[Mapping[str, str]]
    upto: int

    def first(self, count: int) -> Unencoded:
        """The first `count` of them, at least one."""
        return Unencoded(self.versions[:count], self.fields[:count], self.versions[count - 1][1])


@dataclass(frozen=True, slots=True)
class VectorChanges:
    """All that the writes up to `upto` changed in a generation: forget `forget`, then `ordinals`
    (n,) have `vectors` (n, dimensions)."""

    upto: int
    ordinals: npt.NDArray[np.int64]
    vectors: Vector
    forget: Sequence[int]


class Clock:
    """Numbers the writes of a collection, for one writer at a time, who holds `writing`.

    `number` was given last; `sequence` is the last one that a document or a deletion got.
    """

    def __init__(self) -> None:
        self.writing = threading.Lock()
        self.number = 0
        self.sequence = 0


class StoredGeneration:
    """One generation of a collection's database.

    `encoded_sequence`: every document written up to it has its vector. `added_number`: number of
    the last vectors that came later than their documents.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        damage: DamageLog,
        generation: int,
        bi_encoder: BiEncoderIdentity,
    ) -> None:
        self._database = database
        self._clock = clock
        self._damage = damage
        self.generation = generation
        self.bi_encoder = bi_encoder
        self.encoded_sequence = 0
        with database.reading() as connection:
            self.read_state(connection)

    def read_state(self, connection: sqlite3.Connection) -> None:
        """Takes over what the database says of the writes, the clock's included."""
        added, count = connection.execute(
            "SELECT ifnull(max(number), 0), count(*) FROM encoded WHERE generation = ?",
            (self.generation,),
        ).fetchone()
        (documents,) = connection.execute("SELECT count(*) FROM documents").fetchone()
        self.added_number = int(added)
        if count == documents:
            self.encoded_sequence = self._clock.sequence

    @property
    def is_encoded(self) -> bool:
        """Whether every document has its vector."""
        return self.encoded_sequence >= self._clock.sequence

    @property
    def last_number(self) -> int:
        """The number of the last write that changed it."""
        return max(self.added_number, self._clock.sequence)

    def count(self) -> int:
        """Documents that have a vector."""
        with self._database.reading() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM encoded WHERE generation = ?", (self.generation,)
            ).fetchone()
            return int(count)

    def unencoded(self, limit: int) -> Unencoded:
        """The first `limit` documents without a vector; beyond `encoded_sequence` only, for before
        it there are none. Damaged ones get none until they are written again."""
        with self._database.reading() as connection:
            found = statements.rows_without_vector(
                connection, self.generation, self.encoded_sequence, limit
            )
            is_last = len(found) < limit
            upto = statements.meta(connection, "sequence") if is_last else found[-1].sequence
        whole = [row for row in found if self._is_whole_text(row)]
        return Unencoded(
            versions=[(row.ordinal, row.sequence) for row in whole],
            fields=[rows.fields_from_json(row.fields) for row in whole],
            upto=upto,
        )

    def add(self, documents: Unencoded, vectors: Vector) -> None:
        """Gives documents their vectors (documents, dimensions), unless they changed meanwhile."""
        with self._clock.writing:
            if documents.versions:
                with self._database.writing() as connection:
                    number = self._clock.number + 1
                    versions = zip(documents.versions, vectors, strict=True)
                    for (ordinal, sequence), vector in versions:
                        if statements.is_as_of(connection, ordinal, sequence):
                            statements.put_vector(
                                connection, self.generation, ordinal, number, vector
                            )
                    statements.set_meta(connection, "number", number)
                # In this order: who reads the latter first never misses what it rests upon.
                self._clock.number = self.added_number = number
            self.encoded_sequence = max(self.encoded_sequence, documents.upto)

    def changes(self, after: int, limit: int) -> VectorChanges:
        """What the writes after a number changed, about `limit` vectors of it."""
        with self._database.reading() as connection:
            upto = statements.last_of_vectors(connection, self.generation, after, limit)
            found = statements.vectors_given_between(connection, self.generation, after, upto)
            whole = [row for row in found if self.is_whole(connection, row)]
            # What these had is gone; what they have now is in `whole`, or comes later.
            written = statements.written_between(connection, after, upto)
            damaged = {row.ordinal for row in found}.difference(row.ordinal for row in whole)
            return VectorChanges(
                upto=upto,
                ordinals=np.array([row.ordinal for row in whole], dtype=np.int64),
                vectors=rows.from_blobs([row.blob for row in whole], self.bi_encoder.dimensions),
                forget=[*statements.deleted_between(connection, after, upto), *written, *damaged],
            )

    def encoded(self) -> tuple[Versions, Rows]:
        """The documents, and (vectors, 2) the ordinal of each vector and the number of the write
        that gave it, by ordinal, both as of one moment: for `verify`."""
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT ordinal, number FROM encoded WHERE generation = ? ORDER BY ordinal",
                (self.generation,),
            )
            return read_versions(connection), to_rows(found)

    def vectors_from(self, ordinal: int, limit: int) -> tuple[int, Rows, Vector]:
        """Of the first vectors from an ordinal on those (n, dimensions) that are as they were
        written, their ordinals and numbers (n, 2), and where to go on from, 0 at the end: for
        `verify`."""
        with self._database.reading() as connection:
            found = statements.vectors_from(connection, self.generation, ordinal, limit)
        whole = [(row, number) for row, number in found if row.is_whole]
        onwards = found[-1][0].ordinal + 1 if len(found) == limit else 0
        numbers = to_rows((row.ordinal, number) for row, number in whole)
        blobs = [row.blob for row, _ in whole]
        return onwards, numbers, rows.from_blobs(blobs, self.bi_encoder.dimensions)

    def is_whole(self, connection: sqlite3.Connection, row: VectorRow) -> bool:
        """Whether a vector is as it was written; if not, it is said."""
        if row.is_whole:
            return True
        doc_id = statements.doc_id_of(connection, row.ordinal)
        self._damage.say(
            (self.generation, row.ordinal, row.checksum), damage_of(doc_id, "the vector of ")
        )
        return False

    def _is_whole_text(self, row: DocumentRow) -> bool:
        if not row.is_whole:
            self._damage.say((row.ordinal, row.sequence), damage_of(row.doc_id))
        return row.is_whole

    def empty(self) -> None:
        """Removes all vectors, a chunk at a time, writers taking turns with it. Broken off, it
        leaves a generation that lacks vectors."""
        while self._empty_some():
            # A lock is no queue: without a rest, who waits for it may not get it before the end.
            time.sleep(EMPTY_REST_SECONDS)

    def _empty_some(self) -> int:
        with self._clock.writing:
            self.encoded_sequence = 0
            with self._database.writing() as connection:
                return statements.drop_vectors(connection, self.generation, EMPTY_CHUNK_DOCUMENTS)

    # Within a transaction of the collection's

    def put(
        self, connection: sqlite3.Connection, ordinal: int, number: int, vector: Vector | None
    ) -> None:
        """Replaces a document's vector; None removes it."""
        if vector is None:
            statements.drop_vector(connection, self.generation, ordinal)
        else:
            statements.put_vector(connection, self.generation, ordinal, number, vector)

    def written(self, sequence: int, has_all: bool) -> None:
        """A write up to a sequence number was committed, which is not the clock's yet; `has_all`:
        it left no document without a vector of this generation."""
        if has_all and self.is_encoded:
            self.encoded_sequence = sequence

    def findings(self, connection: sqlite3.Connection) -> list[str]:
        """What its tables find wrong in each other and in the documents."""
        table = vectors_table(self.generation)
        questions = {
            "vectors without a document": f"SELECT count(*) FROM {table}"
            " WHERE ordinal NOT IN (SELECT ordinal FROM documents)",
            "vectors that nothing leads to": f"SELECT count(*) FROM {table} WHERE ordinal NOT IN"
            " (SELECT ordinal FROM encoded WHERE generation = :generation)",
            "documents whose vector is lost": "SELECT count(*) FROM encoded"
            f" WHERE generation = :generation AND ordinal NOT IN (SELECT ordinal FROM {table})",
        }
        found = []
        for what, question in questions.items():
            (count,) = connection.execute(question, {"generation": self.generation}).fetchone()
            if count:
                found.append(f"{count} {what} in the generation of {self.bi_encoder}")
        return [*found, *self._damaged(connection)]

    def _damaged(self, connection: sqlite3.Connection) -> Iterator[str]:
        for row in statements.all_vectors(connection, self.generation):
            if not row.is_whole:
                doc_id = statements.doc_id_of(connection, row.ordinal)
                yield damage_of(doc_id, f"the vector by {self.bi_encoder} of ").message


def read_generations(
    database: Database, clock: Clock, damage: DamageLog
) -> dict[BiEncoderIdentity, StoredGeneration]:
    """Those that a collection has."""
    with database.reading() as connection:
        found = connection.execute(
            "SELECT generation, name, revision, dimensions FROM generations ORDER BY generation"
        ).fetchall()
    identities = {BiEncoderIdentity(*identity): number for number, *identity in found}
    return {
        identity: StoredGeneration(database, clock, damage, number, identity)
        for identity, number in identities.items()
    }


def create_generation(connection: sqlite3.Connection, bi_encoder: BiEncoderIdentity) -> int:
    """Makes an empty generation within the caller's transaction; returns its number."""
    added = connection.execute(
        "INSERT INTO generations (name, revision, dimensions) VALUES (?, ?, ?)",
        (bi_encoder.name, bi_encoder.revision, bi_encoder.dimensions),
    )
    assert added.lastrowid is not None
    create_vectors_table(connection, added.lastrowid)
    return added.lastrowid


def drop_generation(connection: sqlite3.Connection, generation: int) -> None:
    """Removes a generation, emptied before, within the caller's transaction."""
    connection.execute("DELETE FROM generations WHERE generation = ?", (generation,))
    connection.execute("DELETE FROM encoded WHERE generation = ?", (generation,))
    connection.execute(f"DROP TABLE {vectors_table(generation)}")
