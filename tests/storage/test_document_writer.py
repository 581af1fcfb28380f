"""Writes: whole batches, rising numbers, and what a disk that is full or read-only says."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
from recalling import a_document
from storing import HEADER, MODEL, ordinal_of, write

from sidecar.errors import StorageError
from sidecar.storage import statements
from sidecar.storage.documents import FILE_NAME, DocumentStore


def test_an_ordinal_stays_with_its_document_and_is_never_reused(store: DocumentStore):
    write(store, a_document(1), a_document(2), a_document(3))
    first, last = ordinal_of(store, "d0001"), ordinal_of(store, "d0003")
    write(store, a_document(1, "other"))
    assert ordinal_of(store, "d0001") == first
    store.delete(["d0003"])
    write(store, a_document(3))
    assert ordinal_of(store, "d0003") > last


def test_a_failed_batch_leaves_nothing(store: DocumentStore, monkeypatch):
    write(store, a_document(1))
    put = statements.put_vector
    calls = []

    def fail_at_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise sqlite3.OperationalError("made to fail")
        put(*arguments)

    monkeypatch.setattr(statements, "put_vector", fail_at_second)
    with pytest.raises(StorageError):
        write(store, a_document(1, "changed"), a_document(2), a_document(3))
    monkeypatch.undo()
    assert (store.sequence, store.count) == (1, 1)
    assert store.get(["d0001"])[0].fields["text"] == "word1"
    assert store.check_integrity() == []
    assert write(store, a_document(2)) == 2


def test_writers_take_turns(store: DocumentStore):
    def write_some(start: int) -> None:
        for number in range(start, start + 20):
            write(store, a_document(number), a_document(number + 500))

    threads = [threading.Thread(target=write_some, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.sequence == store.count == 160
    assert sorted(store.sequences().values()) == list(range(1, 161))


def test_a_full_disk_is_said_and_loses_nothing(store: DocumentStore):
    write(store, a_document(1))
    # A page limit makes SQLite answer as it does on a full disk.
    (pages,) = store._database._writer.execute("PRAGMA page_count").fetchone()
    store._database._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageError, match="disk is full"):
        write(store, a_document(2, "x" * 100_000))
    store._database._writer.execute("PRAGMA max_page_count = 1000000")
    assert (store.sequence, store.count) == (1, 1)
    assert write(store, a_document(2)) == 2


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="runs as root")
def test_a_read_only_folder_is_said(tmp_path: Path):
    DocumentStore.create(tmp_path, HEADER, MODEL).close()
    if os.geteuid() == 0:
        store = DocumentStore.open(tmp_path)
        store._database._writer.execute("PRAGMA query_only = ON")
    else:
        (tmp_path / FILE_NAME).chmod(0o400)
        store = DocumentStore.open(tmp_path)
    with pytest.raises(StorageError, match="read-only"):
        write(store, a_document(1))
    store.close()
