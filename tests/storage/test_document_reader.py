"""What is read of documents: as it was written, whole batches, and what a damaged page says."""

from __future__ import annotations

import sqlite3
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

from recalling import a_document
from storing import HEADER, MODEL, write

from sidecar.errors import StorageError
from sidecar.storage.documents import FILE_NAME, DocumentStore
from sidecar.types import Document


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
