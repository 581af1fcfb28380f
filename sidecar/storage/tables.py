"""The tables of a collection's database, and the format version that says which these are.

Format 1 had one table of vectors, those of the one bi-encoder named in `meta`; format 2 had no
checksums and no `write_ids`. A database of these is brought to this format when it is opened;
documents and vectors stay where they are, with NULL for a checksum.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

FORMAT = 3
# "SIDE": tells our databases from others.
APPLICATION_ID = 0x53494445

TABLES = """
-- Names and values of the collection as a whole. `number` counts all that is written; `sequence` is
-- the last number given to a document or a deletion; `leading` is the generation that new documents
-- get their vectors of at once, 0 for none.
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;

-- An ordinal stays with its doc_id while the document lives and is never given to another.
CREATE TABLE documents (
  ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
  doc_id TEXT NOT NULL UNIQUE,
  sequence INTEGER NOT NULL UNIQUE,
  fields TEXT NOT NULL,
  attributes TEXT NOT NULL,
  checksum INTEGER
);

-- One row for each value of each attribute, to filter by.
CREATE TABLE attribute_values (
  name TEXT NOT NULL,
  value NOT NULL,
  ordinal INTEGER NOT NULL,
  PRIMARY KEY (name, value, ordinal)
) WITHOUT ROWID;
CREATE INDEX attribute_values_by_ordinal ON attribute_values (ordinal);

-- What was deleted by which write, until all derived indexes have it on disk.
CREATE TABLE tombstones (sequence INTEGER PRIMARY KEY, ordinal INTEGER NOT NULL);
"""

GENERATION_TABLES = """
-- The bi-encoders of which the collection has vectors, or is to get them. No number is given twice.
CREATE TABLE generations (
  generation INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  revision TEXT NOT NULL,
  dimensions INTEGER NOT NULL,
  UNIQUE (name, revision, dimensions)
);

-- Which documents have a vector of which generation, and the number of the write that gave it.
CREATE TABLE encoded (
  generation INTEGER NOT NULL,
  ordinal INTEGER NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (generation, ordinal)
) WITHOUT ROWID;
CREATE INDEX encoded_by_number ON encoded (generation, number);
"""


WRITE_TABLES = """
-- Writes by the id that their caller gave them: the digest of what was asked, and what was answered
-- (the last sequence number, 0 if nothing changed, and the count of documents).
CREATE TABLE write_ids (
  number INTEGER PRIMARY KEY,
  request_id TEXT NOT NULL UNIQUE,
  digest BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  count INTEGER NOT NULL,
  written_seconds INTEGER NOT NULL
);
"""


def create_tables(connection: sqlite3.Connection) -> None:
    """Makes the tables in an empty database, within the caller's transaction."""
    _execute_all(connection, TABLES)
    _execute_all(connection, GENERATION_TABLES)
    _execute_all(connection, WRITE_TABLES)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def vectors_table(generation: int) -> str:
    """The table of a generation's vectors: one each, for they are wide and go all at once."""
    return f"vectors_{generation:d}"


def create_vectors_table(connection: sqlite3.Connection, generation: int) -> None:
    """Makes the table of unit vectors, float32, little-endian, of a generation."""
    connection.execute(
        f"CREATE TABLE {vectors_table(generation)}"
        " (ordinal INTEGER PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER)"
    )


def migrate(connection: sqlite3.Connection) -> None:
    """Brings a database of an earlier format to this one, within the caller's transaction."""
    (written,) = connection.execute("PRAGMA user_version").fetchone()
    if written < 2:
        _add_generations(connection)
    _add_checksums(connection)
    _execute_all(connection, WRITE_TABLES)
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def _add_generations(connection: sqlite3.Connection) -> None:
    """From format 1 to 2."""
    bi_encoder = json.loads(_meta(connection, "bi_encoder"))
    _execute_all(connection, GENERATION_TABLES)
    if bi_encoder is None:
        connection.execute("DROP TABLE vectors")
    else:
        connection.execute(
            "INSERT INTO generations VALUES (1, :name, :revision, :dimensions)", bi_encoder
        )
        connection.execute(f"ALTER TABLE vectors RENAME TO {vectors_table(1)}")
        connection.execute(
            "INSERT INTO encoded SELECT 1, ordinal, sequence FROM documents"
            f" WHERE ordinal IN (SELECT ordinal FROM {vectors_table(1)})"
        )
    leading = 0 if bi_encoder is None else 1
    connection.execute("DELETE FROM meta WHERE key = 'bi_encoder'")
    connection.execute("INSERT INTO meta VALUES ('leading', ?)", (leading,))
    connection.execute("INSERT INTO meta VALUES ('number', ?)", (_meta(connection, "sequence"),))


def _add_checksums(connection: sqlite3.Connection) -> None:
    generations = connection.execute("SELECT generation FROM generations").fetchall()
    for table in ("documents", *(vectors_table(generation) for (generation,) in generations)):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN checksum INTEGER")


def _meta(connection: sqlite3.Connection, key: str) -> Any:
    (value,) = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return value


def _execute_all(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        connection.execute(statement)
