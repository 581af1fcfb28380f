"""The log is emptied when nothing is written, by nobody else's leave, and loses nothing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.recall.embedded.log_folding import LogFolding
from sidecar.storage.documents import DocumentStore
from sidecar.storage.headers import Header
from sidecar.storage.write_ahead_log import log_of
from sidecar.types import Document, Schema


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DocumentStore]:
    store = DocumentStore.create(tmp_path, Header("id", "things", Schema()))
    yield store
    store.close()


def write(store: DocumentStore, number: int) -> None:
    store.write([Document(f"d{number}", {"title": "t", "text": f"word{number}"})], [None], None)


def log_bytes(store: DocumentStore) -> int:
    return log_of(store.path).stat().st_size


def test_folded_it_is_empty_and_all_is_in_the_database(
    store: DocumentStore, tmp_path: Path
) -> None:
    for number in range(5):
        write(store, number)
    assert log_bytes(store) > 0
    assert store.fold_log()
    assert log_bytes(store) == 0
    (tmp_path / "copy").mkdir()
    shutil.copy(store.path, tmp_path / "copy")  # the database alone
    copy = DocumentStore.open(tmp_path / "copy")
    assert copy.count == 5
    copy.close()
    write(store, 5)
    assert store.count == 6


def test_who_reads_is_not_waited_for(store: DocumentStore) -> None:
    write(store, 1)
    with store._database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (1,)
        write(store, 2)
        assert not store.fold_log()
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (1,)
    assert store.fold_log()
    assert store.count == 2


class Folded(threading.Event):
    """Says when a store was folded."""

    def __init__(self, store: DocumentStore, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        fold = store.fold_log

        def fold_and_say() -> bool:
            folded = fold()
            self.set()
            return folded

        monkeypatch.setattr(store, "fold_log", fold_and_say)


def test_it_is_folded_once_nothing_was_written_for_a_while(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded = Folded(store, monkeypatch)
    folding = LogFolding(store, quiet_seconds=0.02)
    folding.start()
    write(store, 1)
    for _ in range(1000):
        assert folded.wait(30)
        folded.clear()
        if log_bytes(store) == 0:
            break
    folding.close()
    folding.close()
    assert log_bytes(store) == 0
    assert store.count == 1
