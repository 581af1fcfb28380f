"""The tables of a feedback log's database, and the format version that says which these are."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sidecar.storage.database import check_format, is_empty

FORMAT = 1
# "SIDF": tells a feedback log from the database of a collection.
APPLICATION_ID = 0x53494446

TABLES = """
-- Rankings that were answered, until they are rolled to Parquet. `hour`: hours since the epoch, of
-- `answered`. `content`: the other columns that Parquet has, as JSON, compressed by zlib.
CREATE TABLE impressions (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  impression_id BLOB NOT NULL UNIQUE,
  hour INTEGER NOT NULL,
  answered REAL NOT NULL,
  content BLOB NOT NULL
);
CREATE INDEX impressions_by_hour ON impressions (hour);

-- What users did, until it is rolled. `hour` and `answered` are the impression's.
CREATE TABLE events (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id TEXT NOT NULL,
  impression_id BLOB NOT NULL,
  hour INTEGER NOT NULL,
  answered REAL NOT NULL,
  action TEXT NOT NULL,
  doc_id TEXT NOT NULL,
  value REAL,
  time REAL NOT NULL,
  received REAL NOT NULL,
  joined INTEGER NOT NULL
);
CREATE INDEX events_by_hour ON events (hour);

-- Which events were logged, rolled or not, as long as their tokens are good and a day more.
CREATE TABLE event_ids (digest BLOB PRIMARY KEY, hour INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX event_ids_by_hour ON event_ids (hour);

-- Parquet files on their way: of `kind` (a table's name), all rows of the hour up to a sequence
-- number. Once `written`, the file is whole and its rows are being removed.
CREATE TABLE parts (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  hour INTEGER NOT NULL,
  upto INTEGER NOT NULL,
  written INTEGER NOT NULL
);
"""


def open_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the tables in an empty database, within the caller's transaction.

    Raises StorageError if the database is not a feedback log, or of a newer format.
    """
    if is_empty(connection):
        _create(connection)
    else:
        check_format(connection, path, APPLICATION_ID, FORMAT, "a feedback log")


def _create(connection: sqlite3.Connection) -> None:
    for statement in TABLES.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
