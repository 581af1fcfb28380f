"""A database that is looked at is left as it is, byte by byte; a copy is of one moment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sidecar.errors import DamagedError, StorageError
from sidecar.storage.documents import DocumentStore
from sidecar.storage.headers import Header
from sidecar.storage.progress import unheard
from sidecar.types import Document, Schema


def documents(numbers: range, text: str = "") -> list[Document]:
    return [Document(f"d{n}", {"title": "t", "text": text or f"word{n}"}) for n in numbers]


def write(store: DocumentStore, numbers: range, text: str = "") -> int:
    written = documents(numbers, text)
    return store.write(written, [None] * len(written), None)


def a_store(folder: Path, count: int = 50) -> DocumentStore:
    folder.mkdir()
    store = DocumentStore.create(folder, Header("id", "things", Schema()))
    write(store, range(count))
    return store


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_looked_at_is_not_changed(tmp_path: Path) -> None:
    a_store(tmp_path / "a").close()
    before = contents(tmp_path / "a")
    store = DocumentStore.open_read_only(tmp_path / "a")
    assert (store.sequence, store.count, store.header.name) == (50, 50, "things")
    assert store.get(["d7"])[0].fields["text"] == "word7"
    assert store.check_integrity() == []
    store.close()
    store.close()
    assert contents(tmp_path / "a") == before


def test_a_log_that_a_crash_left_is_read_and_left(tmp_path: Path) -> None:
    living = a_store(tmp_path / "living")
    write(living, range(50, 53))
    shutil.copytree(tmp_path / "living", tmp_path / "a", ignore=shutil.ignore_patterns("*-shm"))
    living.close()
    before = contents(tmp_path / "a")
    assert len(before["documents.sqlite-wal"]) > 0
    store = DocumentStore.open_read_only(tmp_path / "a")
    assert (store.sequence, store.count) == (53, 53)
    store.close()
    assert contents(tmp_path / "a") == before


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="missing"):
        DocumentStore.open_read_only(tmp_path)
    assert contents(tmp_path) == {}


def test_a_copy_opens_and_goes_on(tmp_path: Path) -> None:
    store = a_store(tmp_path / "a", 3000)
    store.delete(["d1", "d2"])
    (tmp_path / "b").mkdir()
    told: list[tuple[str, int, int]] = []
    store.copy_to(tmp_path / "b", lambda *step: told.append(step))
    write(store, range(1), "later")
    store.close()
    copy = DocumentStore.open(tmp_path / "b")
    assert (copy.sequence, copy.count) == (3002, 2998)
    assert copy.get(["d0", "d1"]) == documents(range(1))
    assert write(copy, range(9000, 9001)) == 3003
    assert copy.check_integrity() == []
    copy.close()
    assert all(step == "copies documents" and 0 <= done <= total for step, done, total in told)
    assert told


def test_who_does_not_want_the_copy_any_more_ends_it(tmp_path: Path) -> None:
    store = a_store(tmp_path / "a", 3000)
    (tmp_path / "b").mkdir()

    def leave(step: str, done: int, total: int) -> None:
        raise KeyError("left")

    with pytest.raises(KeyError, match="left"):
        store.copy_to(tmp_path / "b", leave)
    store.close()


def test_a_copy_that_does_not_go_says_why(tmp_path: Path) -> None:
    store = a_store(tmp_path / "a")
    with pytest.raises(StorageError, match=r"nowhere.documents\.sqlite: No such file"):
        store.copy_to(tmp_path / "nowhere", unheard)
    store.close()
