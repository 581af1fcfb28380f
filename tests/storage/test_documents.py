"""A collection's database is made and opened: the same again, foreign, newer, damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from recalling import a_document
from storing import HEADER, MODEL, write

from sidecar.errors import StorageError
from sidecar.storage.documents import FILE_NAME, DocumentStore
from sidecar.storage.headers import Header
from sidecar.types import Schema


def test_reopened_it_is_the_same(tmp_path: Path):
    store = DocumentStore.create(tmp_path, HEADER, MODEL)
    write(store, a_document(1), a_document(2))
    store.close()
    again = DocumentStore.open(tmp_path)
    assert (again.header, again.sequence, again.count) == (HEADER, 2, 2)
    assert write(again, a_document(3)) == 3
    again.close()


def test_a_newer_format_is_refused(tmp_path: Path):
    DocumentStore.create(tmp_path, HEADER, MODEL).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StorageError, match="newer sidecar"):
        DocumentStore.open(tmp_path)


def test_foreign_missing_and_damaged_files_are_refused(tmp_path: Path):
    with pytest.raises(StorageError, match="missing"):
        DocumentStore.open(tmp_path)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(StorageError, match="not the database of a collection"):
        DocumentStore.open(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"x" * 8192)
    with pytest.raises(StorageError, match="damaged"):
        DocumentStore.open(tmp_path)


def test_a_schema_keeps_its_order(tmp_path: Path):
    DocumentStore.create(tmp_path, Header("i", "n", Schema())).close()
    again = DocumentStore.open(tmp_path)
    assert again.header.schema == Schema()
    again.close()
