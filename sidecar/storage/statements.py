"""The SQL of single documents, within a transaction that the caller holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sidecar.storage import rows
from sidecar.storage.checksums import checksum_of_document, checksum_of_vector
from sidecar.storage.tables import vectors_table
from sidecar.types import Attribute, Document


class DocumentRow(NamedTuple):
    """A document as it is stored. `fields` and `attributes` are JSON, in bytes, for damaged ones
    may not be UTF-8 any more."""

    ordinal: int
    doc_id: str
    sequence: int
    fields: bytes
    attributes: bytes
    checksum: int | None

    @property
    def is_whole(self) -> bool:
        """Whether it is as it was written, as far as that was written down."""
        if not (isinstance(self.fields, bytes) and isinstance(self.attributes, bytes)):
            return False  # a flipped bit makes another type of a column
        if self.checksum is None:
            return True
        found = checksum_of_document(self.sequence, self.doc_id, self.fields, self.attributes)
        return found == self.checksum


_BESIDES_ID = "sequence, CAST(fields AS BLOB), CAST(attributes AS BLOB), checksum"


class VectorRow(NamedTuple):
    """A vector as it is stored."""

    ordinal: int
    blob: bytes
    checksum: int | None

    @property
    def is_whole(self) -> bool:
        """See DocumentRow."""
        if not isinstance(self.blob, bytes):
            return False
        return self.checksum is None or checksum_of_vector(self.ordinal, self.blob) == self.checksum


def meta(connection: sqlite3.Connection, key: str) -> Any:
    """A value of the collection as a whole. Raises KeyError if it is missing."""
    value = find_meta(connection, key)
    if value is None:
        raise KeyError(key)
    return value


def find_meta(connection: sqlite3.Connection, key: str) -> Any:
    """Likewise; None if it is missing."""
    found = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if found is None else found[0]


def set_meta(connection: sqlite3.Connection, key: str, value: str | int) -> None:
    """Sets a value of the collection as a whole."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def put_document(
    connection: sqlite3.Connection, document: Document, sequence: int
) -> tuple[int, bool]:
    """Stores fields and attributes; returns the ordinal and whether the id is new."""
    doc_id = document.doc_id
    fields, attributes = rows.to_json(document.fields), rows.to_json(document.attributes)
    checksum = checksum_of_document(sequence, doc_id, fields.encode(), attributes.encode())
    content = (sequence, fields, attributes, checksum, doc_id)
    replaced = connection.execute(
        "UPDATE documents SET sequence = ?, fields = ?, attributes = ?, checksum = ?"
        " WHERE doc_id = ? RETURNING ordinal",
        content,
    ).fetchone()
    if replaced is not None:
        _mend_id(connection, replaced[0], doc_id)
        return int(replaced[0]), False
    added = connection.execute(
        "INSERT INTO documents (sequence, fields, attributes, checksum, doc_id)"
        " VALUES (?, ?, ?, ?, ?)",
        content,
    )
    assert added.lastrowid is not None
    return added.lastrowid, True


def put_attributes(
    connection: sqlite3.Connection, ordinal: int, attributes: Mapping[str, Attribute]
) -> None:
    """Replaces the rows that a document is filtered by."""
    connection.execute("DELETE FROM attribute_values WHERE ordinal = ?", (ordinal,))
    connection.executemany(
        "INSERT INTO attribute_values VALUES (?, ?, ?)",
        [
            (name, row_value, ordinal)
            for name, value in attributes.items()
            for row_value in rows.to_row_values(value)
        ],
    )


def has_attributes(
    connection: sqlite3.Connection, ordinal: int, attributes: Mapping[str, Attribute]
) -> bool:
    """Whether the rows that a document is filtered by are those of its attributes."""
    found = connection.execute(
        "SELECT name, value FROM attribute_values WHERE ordinal = ?", (ordinal,)
    ).fetchall()
    wanted = [
        (name, row) for name, value in attributes.items() for row in rows.to_row_values(value)
    ]
    return len(found) == len(wanted) and set(found) == set(wanted)


def put_vector(
    connection: sqlite3.Connection,
    generation: int,
    ordinal: int,
    number: int,
    vector: npt.NDArray[np.float32],
) -> None:
    """Replaces a document's vector of a generation, by the write of that number."""
    blob = rows.to_blob(vector)
    connection.execute(
        f"INSERT OR REPLACE INTO {vectors_table(generation)} (ordinal, vector, checksum)"
        " VALUES (?, ?, ?)",
        (ordinal, blob, checksum_of_vector(ordinal, blob)),
    )
    connection.execute(
        "INSERT OR REPLACE INTO encoded VALUES (?, ?, ?)", (generation, ordinal, number)
    )


def drop_vector(connection: sqlite3.Connection, generation: int, ordinal: int) -> None:
    """Removes a document's vector of a generation, if it has one."""
    dropped = connection.execute(
        "DELETE FROM encoded WHERE generation = ? AND ordinal = ?", (generation, ordinal)
    )
    if dropped.rowcount:
        connection.execute(f"DELETE FROM {vectors_table(generation)} WHERE ordinal = ?", (ordinal,))


def drop_vectors(connection: sqlite3.Connection, generation: int, limit: int) -> int:
    """Removes the first `limit` vectors of a generation; returns how many there were."""
    last, count = connection.execute(
        "SELECT max(ordinal), count(*) FROM (SELECT ordinal FROM encoded"
        " WHERE generation = ? ORDER BY ordinal LIMIT ?)",
        (generation, limit),
    ).fetchone()
    if count:
        table = vectors_table(generation)
        connection.execute(f"DELETE FROM {table} WHERE ordinal <= ?", (last,))
        connection.execute(
            "DELETE FROM encoded WHERE generation = ? AND ordinal <= ?", (generation, last)
        )
    return int(count)


def drop_document(connection: sqlite3.Connection, doc_id: str) -> int | None:
    """Removes a document and what it is filtered by; returns its ordinal, None if not stored."""
    ordinal = ordinal_of(connection, doc_id)
    if ordinal is None:
        return None
    _mend_id(connection, ordinal, doc_id)
    connection.execute("DELETE FROM documents WHERE ordinal = ?", (ordinal,))
    connection.execute("DELETE FROM attribute_values WHERE ordinal = ?", (ordinal,))
    return ordinal


def _mend_id(connection: sqlite3.Connection, ordinal: int, doc_id: str) -> None:
    """A row that the index of ids has by an id has that id again, if a bit in it flipped."""
    (stored,) = connection.execute(
        "SELECT CAST(doc_id AS BLOB) FROM documents WHERE ordinal = ?", (ordinal,)
    ).fetchone()
    if stored == doc_id.encode():
        return
    owner = connection.execute(
        "SELECT ordinal, doc_id FROM documents WHERE doc_id = CAST(? AS TEXT)", (stored,)
    ).fetchone()
    replacing = "UPDATE documents SET doc_id = ? WHERE ordinal = ?"
    # SQLite refuses to replace what its index does not have, unless in this mode.
    connection.execute("PRAGMA writable_schema=ON")
    try:
        connection.execute(replacing, (doc_id, ordinal))
        if owner is not None:  # from the index went what the damaged row had: another's id
            connection.execute(replacing, (owner[1], owner[0]))
    finally:
        connection.execute("PRAGMA writable_schema=OFF")


def is_as_of(connection: sqlite3.Connection, ordinal: int, sequence: int) -> bool:
    """Whether a document is still as that write left it."""
    found = connection.execute(
        "SELECT 1 FROM documents WHERE ordinal = ? AND sequence = ?", (ordinal, sequence)
    )
    return found.fetchone() is not None


def put_tombstone(connection: sqlite3.Connection, sequence: int, ordinal: int) -> None:
    """Remembers a deletion."""
    connection.execute("INSERT INTO tombstones VALUES (?, ?)", (sequence, ordinal))


def drop_tombstones(connection: sqlite3.Connection, upto: int) -> int:
    """Forgets deletions up to a sequence number; returns how many."""
    dropped = connection.execute("DELETE FROM tombstones WHERE sequence <= ?", (upto,))
    return dropped.rowcount


def rows_of_ids(connection: sqlite3.Connection, doc_ids: Iterable[str]) -> Iterator[DocumentRow]:
    """The rows of the documents that are stored, in the order asked, each once."""
    for doc_id in dict.fromkeys(doc_ids):
        row = connection.execute(
            f"SELECT ordinal, {_BESIDES_ID} FROM documents WHERE doc_id = ?", (doc_id,)
        ).fetchone()
        if row is not None:
            yield DocumentRow(row[0], doc_id, *row[1:])


def rows_written_between(
    connection: sqlite3.Connection, after: int, upto: int
) -> Iterator[DocumentRow]:
    """The rows of the documents last written after one sequence number, up to another, in that
    order."""
    found = connection.execute(
        f"SELECT ordinal, CAST(doc_id AS BLOB), {_BESIDES_ID} FROM documents"
        " WHERE sequence > ? AND sequence <= ? ORDER BY sequence",
        (after, upto),
    )
    for row in found:
        yield _to_row(*row)


def rows_without_vector(
    connection: sqlite3.Connection, generation: int, after: int, limit: int
) -> list[DocumentRow]:
    """The rows of the first documents written after a sequence number that have no vector of a
    generation."""
    found = connection.execute(
        f"SELECT ordinal, CAST(doc_id AS BLOB), {_BESIDES_ID} FROM documents WHERE sequence > ?"
        " AND NOT EXISTS (SELECT 1 FROM encoded"
        "  WHERE generation = ? AND encoded.ordinal = documents.ordinal)"
        " ORDER BY sequence LIMIT ?",
        (after, generation, limit),
    )
    return [_to_row(*row) for row in found]


def _to_row(ordinal: int, doc_id: bytes | None, *others: Any) -> DocumentRow:
    return DocumentRow(ordinal, (doc_id or b"").decode(errors="replace"), *others)


def versions_of(connection: sqlite3.Connection, doc_ids: Iterable[str]) -> dict[str, int]:
    """The sequence numbers of documents, by id; 0 of those that are not stored."""
    versions = {}
    for doc_id in doc_ids:
        found = connection.execute(
            "SELECT sequence FROM documents WHERE doc_id = ?", (doc_id,)
        ).fetchone()
        versions[doc_id] = 0 if found is None else int(found[0])
    return versions


def ids_of(
    connection: sqlite3.Connection, ordinals: Sequence[int]
) -> Iterator[tuple[int, str, bool]]:
    """(ordinal, doc_id, is_whole) of the documents that are stored: an id as well as it can be
    read, and whether the index of ids leads by it to this document."""
    found = connection.execute(
        "SELECT ordinal, CAST(doc_id AS BLOB),"
        " (SELECT ordinal FROM documents AS indexed WHERE indexed.doc_id = documents.doc_id)"
        " FROM documents WHERE ordinal IN (SELECT value FROM json_each(?))",
        (json.dumps(list(ordinals)),),
    )
    for ordinal, doc_id, indexed in found:
        yield ordinal, (doc_id or b"").decode(errors="replace"), indexed == ordinal


def ordinal_of(connection: sqlite3.Connection, doc_id: str) -> int | None:
    """Where the index of ids, which a flipped bit in a row leaves as it is, has an id; None if
    nowhere."""
    found = connection.execute(
        "SELECT ordinal FROM documents WHERE doc_id = ?", (doc_id,)
    ).fetchone()
    return None if found is None else int(found[0])


def doc_id_of(connection: sqlite3.Connection, ordinal: int) -> str:
    """The id of a document, as well as it can be read; empty if it is not stored."""
    found = connection.execute(
        "SELECT CAST(doc_id AS BLOB) FROM documents WHERE ordinal = ?", (ordinal,)
    ).fetchone()
    return "" if found is None else str((found[0] or b"").decode(errors="replace"))


def vector_of(connection: sqlite3.Connection, generation: int, ordinal: int) -> VectorRow | None:
    """A document's vector of a generation, if it has one."""
    row = connection.execute(
        f"SELECT vector, checksum FROM {vectors_table(generation)} WHERE ordinal = ?", (ordinal,)
    ).fetchone()
    return None if row is None else VectorRow(ordinal, *row)


def vectors_given_between(
    connection: sqlite3.Connection, generation: int, after: int, upto: int
) -> list[VectorRow]:
    """The vectors that documents of a generation were given after one number, up to another, in
    that order."""
    found = connection.execute(
        f"SELECT ordinal, vector, checksum FROM encoded JOIN {vectors_table(generation)}"
        " USING (ordinal) WHERE generation = ? AND number > ? AND number <= ? ORDER BY number",
        (generation, after, upto),
    )
    return [VectorRow(*row) for row in found]


def vectors_from(
    connection: sqlite3.Connection, generation: int, ordinal: int, limit: int
) -> list[tuple[VectorRow, int]]:
    """The first vectors from an ordinal on, each with the number of the write that gave it."""
    found = connection.execute(
        "SELECT ordinal, vector, checksum, number FROM encoded"
        f" JOIN {vectors_table(generation)} USING (ordinal)"
        " WHERE generation = ? AND ordinal >= ? ORDER BY ordinal LIMIT ?",
        (generation, ordinal, limit),
    )
    return [(VectorRow(*row), number) for *row, number in found]


def all_vectors(connection: sqlite3.Connection, generation: int) -> Iterator[VectorRow]:
    """The vectors of a generation."""
    found = connection.execute(f"SELECT ordinal, vector, checksum FROM {vectors_table(generation)}")
    for row in found:
        yield VectorRow(*row)


def last_of_chunk(connection: sqlite3.Connection, after: int, limit: int) -> int:
    """The sequence number up to which about `limit` documents were written after another."""
    row = connection.execute(
        "SELECT sequence FROM documents WHERE sequence > ? ORDER BY sequence LIMIT 1 OFFSET ?",
        (after, limit - 1),
    ).fetchone()
    return int(meta(connection, "sequence")) if row is None else int(row[0])


def last_of_vectors(connection: sqlite3.Connection, generation: int, after: int, limit: int) -> int:
    """The number up to which about `limit` vectors were given after another."""
    row = connection.execute(
        "SELECT number FROM encoded WHERE generation = ? AND number > ?"
        " ORDER BY number LIMIT 1 OFFSET ?",
        (generation, after, limit - 1),
    ).fetchone()
    return int(meta(connection, "number")) if row is None else int(row[0])


def written_between(connection: sqlite3.Connection, after: int, upto: int) -> list[int]:
    """Ordinals of the documents last written after one sequence number, up to another."""
    found = connection.execute(
        "SELECT ordinal FROM documents WHERE sequence > ? AND sequence <= ?", (after, upto)
    )
    return [ordinal for (ordinal,) in found]


def deleted_between(connection: sqlite3.Connection, after: int, upto: int) -> list[int]:
    """Ordinals deleted by the writes after one sequence number, up to another."""
    found = connection.execute(
        "SELECT ordinal FROM tombstones WHERE sequence > ? AND sequence <= ?", (after, upto)
    )
    return [ordinal for (ordinal,) in found]
