"""The truth: whole batches, rising numbers, replay, and what a damaged disk says."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recalling import SCHEMA, a_document

from sidecar.errors import StorageError
from sidecar.storage import statements
from sidecar.storage.documents import FILE_NAME, DocumentStore, Header
from sidecar.storage.rows import from_microseconds, to_microseconds, to_row_values
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Document, Schema

HEADER = Header("id-1", "things", SCHEMA)
MODEL = BiEncoderIdentity("m", "r", 4)
UNIT = np.array([1, 0, 0, 0], np.float32)


@pytest.fixture
def store(tmp_path: Path):
    store = DocumentStore.create(tmp_path, HEADER, MODEL)
    yield store
    store.close()


def write(store: DocumentStore, *documents: Document) -> int:
    return store.write(documents, [UNIT] * len(documents), MODEL)


def ordinal_of(store: DocumentStore, doc_id: str) -> int:
    (ordinal,) = [o for o in store.sequences() if store.doc_ids([o]) == {o: doc_id}]
    return ordinal


def test_what_was_written_is_read(store: DocumentStore):
    moment = datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))
    document = Document(
        "ä\x00/1",
        {"title": "a\x00b", "text": "x\ny 🦊"},
        {"colour": "x\x00y", "year": -(2**63), "price": 0.1, "new": True, "seen": moment,
         "tags": ("b", "a", "b")},
    )  # fmt: skip
    assert write(store, document) == 1
    (read,) = store.get(["ä\x00/1", "nope"], include_vectors=True)
    assert read == Document("ä\x00/1", document.fields, document.attributes, [1.0, 0.0, 0.0, 0.0])
    assert store.get(["ä\x00/1"])[0].vector is None
    assert store.fields(["ä\x00/1"]) == {"ä\x00/1": dict(document.fields)}


def test_sequences_are_told_of_what_is_stored_without_reading_it(store: DocumentStore, tmp_path):
    write(store, a_document(1), a_document(2))
    write(store, a_document(1, "other"))
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE documents SET fields = 'damaged' WHERE doc_id = 'd0002'")
    assert store.sequences_of(["d0002", "nope", "d0001"]) == {"d0001": 3, "d0002": 2}


def test_reopened_it_is_the_same(tmp_path: Path):
    store = DocumentStore.create(tmp_path, HEADER, MODEL)
    write(store, a_document(1), a_document(2))
    store.close()
    again = DocumentStore.open(tmp_path)
    assert (again.header, again.sequence, again.count) == (HEADER, 2, 2)
    assert write(again, a_document(3)) == 3
    again.close()


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


def test_replay_gives_the_state_whatever_the_history(store: DocumentStore):
    rng = np.random.default_rng(1)
    snapshots = {0: {}}
    for _ in range(60):
        numbers = rng.choice(12, size=3, replace=False)
        if rng.random() < 0.4:
            store.delete([f"d{n:04}" for n in numbers])
        else:
            write(store, *(a_document(int(n), f"v{rng.integers(99)}") for n in numbers))
        snapshots[store.sequence] = {
            c.ordinal: c.fields["text"] for c in store.text_changes(0, 1000, 10**9).written
        }
    final = snapshots[store.sequence]
    for after, state in snapshots.items():
        for limit, characters in ((1, 10**9), (4, 10**9), (1000, 30)):
            replayed, at = dict(state), after
            while at < store.sequence:
                changes = store.text_changes(at, limit, characters)
                assert changes.upto > at
                for ordinal in changes.deleted:
                    replayed.pop(ordinal, None)
                replayed |= {c.ordinal: c.fields["text"] for c in changes.written}
                at = changes.upto
            assert replayed == final


def test_tombstones_are_forgotten_only_by_pruning(store: DocumentStore):
    write(store, a_document(1), a_document(2))
    assert store.delete(["d0001", "nope", "d0001"]) == (3, [1])
    assert store.delete(["nope"]) == (0, [])
    assert store.text_changes(2, 10, 100).deleted == [1]
    store.prune(2)
    assert store.pruned_sequence() == 0
    store.prune(3)
    assert (store.pruned_sequence(), store.text_changes(2, 10, 100).deleted) == (3, [])


def test_reads_see_whole_batches_while_writes_go_on(store: DocumentStore):
    stop, torn = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            texts = {d.fields["text"] for d in store.get(["d0001", "d0002", "d0003"])}
            if len(texts) > 1:
                torn.append(texts)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in range(60):
        write(store, *(a_document(n, f"v{version}") for n in (1, 2, 3)))
    stop.set()
    for thread in threads:
        thread.join()
    assert torn == []


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


def test_integrity_finds_a_damaged_page(tmp_path: Path):
    store = DocumentStore.create(tmp_path, HEADER, MODEL)
    for start in range(0, 300, 100):
        write(store, *(a_document(n, "text " * 50) for n in range(start, start + 100)))
    store.close()
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2048] = b"\xff" * 2048
    path.write_bytes(content)
    damaged = None
    try:
        damaged = DocumentStore.open(tmp_path)
        findings = damaged.check_integrity()
    except StorageError as error:
        findings = [error.message]
    finally:
        if damaged:
            damaged.close()
    assert findings


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


@given(st.datetimes(timezones=st.just(UTC)))
def test_timestamps_keep_their_microseconds(moment: datetime):
    assert from_microseconds(to_microseconds(moment)) == moment
    assert to_microseconds(moment.replace(tzinfo=None)) == to_microseconds(moment)
    assert to_row_values(moment) == [to_microseconds(moment)]


def test_row_values():
    assert to_row_values(("b", "a", "b")) == ["a", "b"]
    assert to_row_values(True) == [1]
    assert str(to_row_values(-0.0)[0]) == "0.0"


def test_a_schema_keeps_its_order(tmp_path: Path):
    DocumentStore.create(tmp_path, Header("i", "n", Schema())).close()
    again = DocumentStore.open(tmp_path)
    assert again.header.schema == Schema()
    again.close()
