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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidecar.storage import rows, statements
from sidecar.storage.database import Database
from sidecar.storage.tables import create_vectors_table, vectors_table

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

    def __init__(self, number: int, sequence: int) -> None:
        self.writing = threading.Lock()
        self.number = number
        self.sequence = sequence


class StoredGeneration:
    """One generation of a collection's database.

    `encoded_sequence`: every document written up to it has its vector. `added_number`: number of
    the last vectors that came later than their documents.
    """

    def __init__(
        self, database: Database, clock: Clock, generation: int, bi_encoder: BiEncoderIdentity
    ) -> None:
        self._database = database
        self._clock = clock
        self.generation = generation
        self.bi_encoder = bi_encoder
        with database.reading() as connection:
            (added,) = connection.execute(
                "SELECT ifnull(max(number), 0) FROM encoded WHERE generation = ?", (generation,)
            ).fetchone()
            (documents,) = connection.execute("SELECT count(*) FROM documents").fetchone()
        self.added_number = int(added)
        is_complete = self.count() == documents
        self.encoded_sequence = clock.sequence if is_complete else 0

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
        it there are none."""
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT ordinal, sequence, fields FROM documents WHERE sequence > ?"
                " AND NOT EXISTS (SELECT 1 FROM encoded"
                "  WHERE generation = ? AND encoded.ordinal = documents.ordinal)"
                " ORDER BY sequence LIMIT ?",
                (self.encoded_sequence, self.generation, limit),
            ).fetchall()
            whole = len(found) < limit
            return Unencoded(
                versions=[(ordinal, sequence) for ordinal, sequence, _ in found],
                fields=[rows.fields_from_json(fields) for _, _, fields in found],
                upto=statements.meta(connection, "sequence") if whole else found[-1][1],
            )

    def add(self, documents: Unencoded, vectors: Vector) -> None:
        """Gives documents their vectors (documents, dimensions), unless they changed meanwhile."""
        with self._clock.writing:
            if documents.versions:
                number = self._clock.number + 1
                with self._database.writing() as connection:
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
            found = connection.execute(
                f"SELECT ordinal, vector FROM encoded JOIN {vectors_table(self.generation)}"
                " USING (ordinal) WHERE generation = ? AND number > ? AND number <= ?"
                " ORDER BY number",
                (self.generation, after, upto),
            ).fetchall()
            # What these had is gone; what they have now is in `found`, or comes later.
            written = statements.written_between(connection, after, upto)
            return VectorChanges(
                upto=upto,
                ordinals=np.array([ordinal for ordinal, _ in found], dtype=np.int64),
                vectors=rows.from_blobs([blob for _, blob in found], self.bi_encoder.dimensions),
                forget=[*statements.deleted_between(connection, after, upto), *written],
            )

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
        return found


def read_generations(database: Database, clock: Clock) -> dict[BiEncoderIdentity, StoredGeneration]:
    """Those that a collection has."""
    with database.reading() as connection:
        found = connection.execute(
            "SELECT generation, name, revision, dimensions FROM generations ORDER BY generation"
        ).fetchall()
    identities = {BiEncoderIdentity(*identity): number for number, *identity in found}
    return {
        identity: StoredGeneration(database, clock, number, identity)
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
