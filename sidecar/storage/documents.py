"""Documents on disk: the truth of a collection, from which both indexes are derived.

A write is one transaction, whole or not at all, and gives each document a sequence number that
rises by one. A derived index that has everything up to sequence s catches up by `changes(s)`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sidecar.errors import StorageError
from sidecar.storage import rows, statements
from sidecar.storage.database import Database
from sidecar.storage.tables import check_format, create_tables
from sidecar.types import Attribute, Document, Schema

FILE_NAME = "documents.sqlite"
Vector = npt.NDArray[np.float32]
Ordinals = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BiEncoderIdentity:
    """Whose vectors a collection holds."""

    name: str
    revision: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a collection is. `collection_id` is unique, also among collections of one name."""

    collection_id: str
    name: str
    schema: Schema
    bi_encoder: BiEncoderIdentity | None


@dataclass(frozen=True, slots=True)
class TextChange:
    """A document as last written, for the lexical index."""

    ordinal: int
    sequence: int
    fields: Mapping[str, str]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class TextChanges:
    """All that the writes up to `upto` changed: forget `deleted`, then (re)place `written`."""

    upto: int
    written: Sequence[TextChange]
    deleted: Sequence[int]


@dataclass(frozen=True, slots=True)
class VectorChanges:
    """The same for the dense index: `ordinals` (n,) have `vectors` (n, dimensions) now.

    `forget` are documents deleted, or written without a vector.
    """

    upto: int
    ordinals: npt.NDArray[np.int64]
    vectors: Vector
    forget: Sequence[int]


class AttributeReader:
    """Which documents have which attributes, on one state of the database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def ordinals_where(self, condition: str, parameters: Sequence[object]) -> Ordinals:
        """Ordinals of the attribute rows (name, value) for which an SQL condition holds."""
        return self._ordinals(f"attribute_values WHERE {condition}", parameters)

    def all_ordinals(self) -> Ordinals:
        """Ordinals of all documents, sorted."""
        return np.sort(self._ordinals("documents", ()))

    def _ordinals(self, source: str, parameters: Sequence[object]) -> Ordinals:
        # One long text is read four times faster than a row for each ordinal.
        statement = f"SELECT group_concat(ordinal) FROM {source}"
        (text,) = self._connection.execute(statement, parameters).fetchone()
        return np.fromstring(text or "", dtype=np.int64, sep=",")


class DocumentStore:
    """The documents of one collection. Reads run beside a write, each on one state."""

    def __init__(self, database: Database, header: Header) -> None:
        self._database = database
        self._write_lock = threading.Lock()
        self.header = header
        with database.reading() as connection:
            self.sequence: int = statements.meta(connection, "sequence")
            (self.count,) = connection.execute("SELECT count(*) FROM documents").fetchone()

    @classmethod
    def create(cls, folder: Path, header: Header) -> DocumentStore:
        """An empty store in an existing folder. Raises StorageError."""
        database = Database(folder / FILE_NAME)
        with database.writing() as connection:
            create_tables(connection)
            statements.set_meta(connection, "collection_id", header.collection_id)
            statements.set_meta(connection, "name", header.name)
            statements.set_meta(connection, "schema", rows.schema_to_json(header.schema))
            statements.set_meta(connection, "bi_encoder", _identity_to_json(header.bi_encoder))
            statements.set_meta(connection, "sequence", 0)
            statements.set_meta(connection, "pruned_sequence", 0)
        return cls(database, header)

    @classmethod
    def open(cls, folder: Path) -> DocumentStore:
        """The store of a folder. Raises StorageError: missing, damaged, of a newer format."""
        path = folder / FILE_NAME
        if not path.exists():
            raise StorageError(f"{path}: missing: restore it from a backup", path=str(path))
        database = Database(path)
        try:
            with database.reading() as connection:
                check_format(connection, path)
                header = Header(
                    collection_id=statements.meta(connection, "collection_id"),
                    name=statements.meta(connection, "name"),
                    schema=rows.schema_from_json(statements.meta(connection, "schema")),
                    bi_encoder=_identity_from_json(statements.meta(connection, "bi_encoder")),
                )
            return cls(database, header)
        except BaseException:
            database.close()
            raise

    @property
    def path(self) -> Path:
        """The database file."""
        return self._database.path

    def close(self) -> None:
        """Closes the database. May be called twice."""
        self._database.close()

    # Writes

    def write(self, documents: Sequence[Document], vectors: Sequence[Vector | None]) -> int:
        """Stores documents and their unit vectors (None: none) in one transaction.

        Returns the sequence number of the last one.
        """
        with self._write_lock:
            sequence, added = self.sequence, 0
            with self._database.writing() as connection:
                for document, vector in zip(documents, vectors, strict=True):
                    sequence += 1
                    ordinal, is_new = statements.put_document(connection, document, sequence)
                    statements.put_attributes(connection, ordinal, document.attributes)
                    statements.put_vector(connection, ordinal, vector)
                    added += is_new
                statements.set_meta(connection, "sequence", sequence)
            self.sequence, self.count = sequence, self.count + added
            return sequence

    def delete(self, doc_ids: Iterable[str]) -> tuple[int, list[int]]:
        """Deletes those that are stored, in one transaction.

        Returns the sequence number of the last deletion (0 if there was none) and the ordinals.
        """
        with self._write_lock:
            sequence, ordinals = self.sequence, []
            with self._database.writing() as connection:
                for doc_id in dict.fromkeys(doc_ids):
                    ordinal = statements.drop_document(connection, doc_id)
                    if ordinal is not None:
                        sequence += 1
                        ordinals.append(ordinal)
                        statements.put_tombstone(connection, sequence, ordinal)
                statements.set_meta(connection, "sequence", sequence)
            self.sequence, self.count = sequence, self.count - len(ordinals)
            return (sequence if ordinals else 0), ordinals

    def add_vectors(self, versions: Sequence[tuple[int, int]], vectors: Vector) -> None:
        """Gives documents, as (ordinal, sequence), their vectors, unless they changed meanwhile."""
        with self._write_lock:
            sequence = self.sequence
            with self._database.writing() as connection:
                for (ordinal, written), vector in zip(versions, vectors, strict=True):
                    if statements.renumber(connection, ordinal, written, sequence + 1):
                        sequence += 1
                        statements.put_vector(connection, ordinal, vector)
                statements.set_meta(connection, "sequence", sequence)
            self.sequence = sequence

    def adopt(self, bi_encoder: BiEncoderIdentity) -> None:
        """Declares whose vectors the collection holds, for one that was created without any."""
        with self._write_lock:
            with self._database.writing() as connection:
                statements.set_meta(connection, "bi_encoder", _identity_to_json(bi_encoder))
            self.header = dataclasses.replace(self.header, bi_encoder=bi_encoder)

    def prune(self, upto: int) -> None:
        """Forgets deletions up to a sequence number that both derived indexes have on disk."""
        with self._write_lock, self._database.writing() as connection:
            if statements.drop_tombstones(connection, upto):
                statements.set_meta(connection, "pruned_sequence", upto)

    # Reads

    def pruned_sequence(self) -> int:
        """An index with a lower watermark cannot catch up and is rebuilt."""
        with self._database.reading() as connection:
            pruned: int = statements.meta(connection, "pruned_sequence")
            return pruned

    def get(self, doc_ids: Sequence[str], include_vectors: bool = False) -> list[Document]:
        """The documents that are stored, in the order asked."""
        types = self.header.schema.attribute_types()
        with self._database.reading() as connection:
            found = {
                doc_id: Document(
                    doc_id=doc_id,
                    fields=rows.fields_from_json(fields),
                    attributes=rows.attributes_from_json(attributes, types),
                    vector=statements.vector_of(connection, ordinal) if include_vectors else None,
                )
                for ordinal, doc_id, fields, attributes in statements.rows_of_ids(
                    connection, doc_ids
                )
            }
        return [found[doc_id] for doc_id in dict.fromkeys(doc_ids) if doc_id in found]

    def fields(self, doc_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """The fields of the documents that are stored, by id."""
        with self._database.reading() as connection:
            return {
                doc_id: rows.fields_from_json(fields)
                for _, doc_id, fields, _ in statements.rows_of_ids(connection, doc_ids)
            }

    def doc_ids(self, ordinals: Sequence[int]) -> dict[int, str]:
        """The ids of the documents that are stored, by ordinal."""
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT ordinal, doc_id FROM documents"
                " WHERE ordinal IN (SELECT value FROM json_each(?))",
                (json.dumps(list(ordinals)),),
            )
            return dict(found.fetchall())

    @contextlib.contextmanager
    def reading_attributes(self) -> Iterator[AttributeReader]:
        """One state of the attributes, to filter by."""
        with self._database.reading() as connection:
            yield AttributeReader(connection)

    def without_vector(self, limit: int) -> list[TextChange]:
        """Documents that have no vector yet, in the order they were written."""
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT ordinal, sequence, fields, attributes FROM documents"
                " WHERE ordinal NOT IN (SELECT ordinal FROM vectors) ORDER BY sequence LIMIT ?",
                (limit,),
            )
            return [self._text_change(row) for row in found]

    def vector_count(self) -> int:
        """Documents that have a vector."""
        with self._database.reading() as connection:
            (count,) = connection.execute("SELECT count(*) FROM vectors").fetchone()
            return int(count)

    def text_changes(self, after: int, limit: int, limit_characters: int) -> TextChanges:
        """What the writes after a sequence number changed, about `limit` documents of it."""
        with self._database.reading() as connection:
            upto = statements.last_of_chunk(connection, after, limit)
            found = connection.execute(
                "SELECT ordinal, sequence, fields, attributes FROM documents"
                " WHERE sequence > ? AND sequence <= ? ORDER BY sequence",
                (after, upto),
            )
            written, characters = [], 0
            for row in found:
                written.append(self._text_change(row))
                characters += len(row[2])
                if characters > limit_characters:
                    upto = written[-1].sequence
                    break
            return TextChanges(upto, written, statements.deleted_between(connection, after, upto))

    def vector_changes(self, after: int, limit: int, dimensions: int) -> VectorChanges:
        """What the writes after a sequence number changed, about `limit` documents of it."""
        with self._database.reading() as connection:
            upto = statements.last_of_chunk(connection, after, limit)
            found = connection.execute(
                "SELECT ordinal, vector FROM documents LEFT JOIN vectors USING (ordinal)"
                " WHERE sequence > ? AND sequence <= ? ORDER BY sequence",
                (after, upto),
            ).fetchall()
            present = [(ordinal, blob) for ordinal, blob in found if blob is not None]
            bare = [ordinal for ordinal, blob in found if blob is None]
            return VectorChanges(
                upto=upto,
                ordinals=np.array([ordinal for ordinal, _ in present], dtype=np.int64),
                vectors=rows.from_blobs([blob for _, blob in present], dimensions),
                forget=[*statements.deleted_between(connection, after, upto), *bare],
            )

    def moved(self, folder: Path) -> None:
        """The folder was renamed: connections opened from now on use its new name."""
        self._database.path = folder / FILE_NAME

    def sequences(self) -> dict[int, int]:
        """The sequence number of every document, by ordinal: for `verify`."""
        with self._database.reading() as connection:
            return dict(connection.execute("SELECT ordinal, sequence FROM documents").fetchall())

    def check_integrity(self) -> list[str]:
        """What SQLite finds wrong with the file, and what the tables find in each other."""
        with self._database.reading() as connection:
            said = [line for (line,) in connection.execute("PRAGMA integrity_check")]
            findings = [f"{self.path}: {line}" for line in said if line != "ok"]
            for table in ("vectors", "attribute_values"):
                (strays,) = connection.execute(
                    f"SELECT count(*) FROM {table}"
                    " WHERE ordinal NOT IN (SELECT ordinal FROM documents)"
                ).fetchone()
                if strays:
                    findings.append(f"{self.path}: {strays} rows of {table} without a document")
            return findings

    def _text_change(self, row: tuple[int, int, str, str]) -> TextChange:
        ordinal, sequence, fields, attributes = row
        types = self.header.schema.attribute_types()
        return TextChange(
            ordinal,
            sequence,
            rows.fields_from_json(fields),
            rows.attributes_from_json(attributes, types),
        )


def _identity_to_json(bi_encoder: BiEncoderIdentity | None) -> str:
    return json.dumps(dataclasses.asdict(bi_encoder) if bi_encoder else None)


def _identity_from_json(text: str) -> BiEncoderIdentity | None:
    tree = json.loads(text)
    return BiEncoderIdentity(**tree) if tree else None
