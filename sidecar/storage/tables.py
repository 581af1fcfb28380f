"""The tables of a collection's database, and the format version that says which these are."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sidecar.errors import StorageError

FORMAT = 1
# "SIDE": tells our databases from others.
APPLICATION_ID = 0x53494445

TABLES = """
-- Names and values of the collection as a whole; `sequence` counts writes.
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;

-- An ordinal stays with its doc_id while the document lives and is never given to another.
CREATE TABLE documents (
  ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
  doc_id TEXT NOT NULL UNIQUE,
  sequence INTEGER NOT NULL UNIQUE,
  fields TEXT NOT NULL,
  attributes TEXT NOT NULL
);

-- Unit vectors, float32, little-endian, of the bi-encoder in `meta`.
CREATE TABLE vectors (ordinal INTEGER PRIMARY KEY, vector BLOB NOT NULL);

-- One row for each value of each attribute, to filter by.
CREATE TABLE attribute_values (
  name TEXT NOT NULL,
  value NOT NULL,
  ordinal INTEGER NOT NULL,
  PRIMARY KEY (name, value, ordinal)
) WITHOUT ROWID;
CREATE INDEX attribute_values_by_ordinal ON attribute_values (ordinal);

-- What was deleted by which write, until both derived indexes have it on disk.
CREATE TABLE tombstones (sequence INTEGER PRIMARY KEY, ordinal INTEGER NOT NULL);
"""


def create_tables(connection: sqlite3.Connection) -> None:
    """Makes the tables in an empty database, within the caller's transaction."""
    for statement in TABLES.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StorageError if the database is not ours or of a newer format."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (written_format,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise StorageError(f"{path}: not the database of a collection", path=str(path))
    if written_format > FORMAT:
        raise StorageError(
            f"{path}: format {written_format} was written by a newer sidecar; this one reads up to "
            f"{FORMAT}: update it",
            path=str(path),
        )
