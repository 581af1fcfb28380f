"""Indexes that a start finds damaged, lost, unreadable just now, of the past or of the future."""

from __future__ import annotations

import pkgutil
import resource
import threading
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeBiEncoder
from recalling import CONFIG, WAIT_SECONDS, a_collection, a_document, dense_ids, lexical_ids, write

import sidecar.recall.embedded.derived as derived_module
from sidecar.errors import StorageError
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.types import StageReason


def damage_nothing(folder: Path) -> None:
    pass


def lose(name: str):
    def damage(folder: Path) -> None:
        (folder / name).rename(folder / f"{name}.gone")

    damage.__name__ = f"lose_{name}"
    return damage


def flip(pattern: str):
    def damage(folder: Path) -> None:
        path = max(folder.glob(pattern), key=lambda path: path.stat().st_size)
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 1
        path.write_bytes(content)

    damage.__name__ = f"flip_{pattern}"
    return damage


def truncate(pattern: str):
    def damage(folder: Path) -> None:
        path = max(folder.glob(pattern), key=lambda path: path.stat().st_size)
        path.write_bytes(path.read_bytes()[:-7])

    damage.__name__ = f"truncate_{pattern}"
    return damage


@pytest.mark.parametrize(
    "damage",
    [
        damage_nothing,
        lose("lexical"),
        lose("dense-1"),
        flip("lexical/*.idx"),
        flip("lexical/*.term"),
        flip("lexical/meta.json"),
        truncate("lexical/*.fast"),
        truncate("lexical/meta.json"),
        truncate("lexical/about.json"),
        flip("dense-1/rows-*"),
        truncate("dense-1/rows-*"),
        flip("dense-1/manifest.json"),
        truncate("dense-1/manifest.json"),
    ],
)
def test_damaged_indexes_are_built_anew(tmp_path: Path, damage, caplog):
    collection = a_collection(tmp_path)
    write(collection, [a_document(n) for n in range(200)])
    collection.delete([f"d{n:04}" for n in range(0, 200, 7)])
    collection.close()
    damage(collection.folder)
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    assert again.verify() == []
    assert again.stats().lexical_count == again.stats().dense_count == 200 - 29
    assert lexical_ids(again, "word5") == ["d0005"]
    assert len(again.repairs) == (damage.__name__.startswith(("flip", "truncate")))
    assert all(repair in caplog.text for repair in again.repairs)
    assert all(".damaged" in repair for repair in again.repairs)
    again.close()


@pytest.mark.parametrize(
    ("function", "unserved"),
    [
        ("sidecar.recall.embedded.lexical.check_segments", "lexical"),
        ("sidecar.recall.embedded.lexical.LexicalIndex.__init__", "lexical"),
        ("sidecar.storage.snapshots.digest", "dense"),
        ("sidecar.recall.embedded.dense.restored_index", "dense"),
    ],
)
def test_what_cannot_be_read_now_is_left_as_it_is(
    tmp_path: Path, monkeypatch, function: str, unserved: str
):
    collection = a_collection(tmp_path)
    write(collection, [a_document(n) for n in range(20)])
    collection.close()
    before = {path: path.stat().st_mtime_ns for path in collection.folder.glob("*/*")}
    works, tries, mended = pkgutil.resolve_name(function.replace("lexical.L", "lexical:L")), [], []

    def without_files(*arguments):
        if mended:
            return works(*arguments)
        tries.append(1)
        if len(tries) > 1:  # in the index thread, beside this one, which needs files
            raise StorageError("Too many open files")
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            return works(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    monkeypatch.setattr(function, without_files)
    monkeypatch.setattr(derived_module, "MAX_RETRY_SECONDS", 0.01)
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    legs = {
        "lexical": again.lexical("common", None, 5),
        "dense": again.dense(FakeBiEncoder().encode_queries(["common"])[0], None, 5),
    }
    left_out = legs.pop(unserved)
    assert (left_out.reason, left_out.recalled) == (StageReason.INDEX_UNAVAILABLE, ())
    assert "Too many open files" in left_out.detail
    assert all(len(leg.recalled) == 5 for leg in legs.values())
    (finding,) = again.verify()
    assert "Too many open files" in finding
    assert before.items() <= {p: p.stat().st_mtime_ns for p in again.folder.glob("*/*")}.items()
    mended.append(1)
    assert again.wait_searchable(20, WAIT_SECONDS)
    assert len(lexical_ids(again, "common", 5)) == len(dense_ids(again, "common", 5)) == 5
    assert again.verify() == []
    assert again.repairs == ()
    assert list(again.folder.glob("*.damaged")) == []
    again.close()


@pytest.mark.parametrize("stale", ["lexical", "dense-1"])
def test_an_index_of_the_past_catches_up(tmp_path: Path, stale: str):
    import shutil

    collection = a_collection(tmp_path)
    write(collection, [a_document(n) for n in range(30)])
    collection.close()
    shutil.copytree(collection.folder / stale, tmp_path / "past")
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    again.delete(["d0003"])
    write(again, [a_document(4, "newer"), a_document(99, "added")])
    again.close()
    shutil.rmtree(again.folder / stale)
    shutil.copytree(tmp_path / "past", again.folder / stale)
    third = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    assert third.verify() == []
    assert lexical_ids(third, "added") == ["d0099"]
    assert "d0003" not in dense_ids(third, "common word3")
    third.close()


def test_an_index_of_the_future_tells_of_writes_that_were_lost(tmp_path: Path, monkeypatch, caplog):
    import shutil

    collection = a_collection(tmp_path)
    write(collection, [a_document(1)])
    collection.close()
    database = collection.folder / "documents.sqlite"
    shutil.copy(database, tmp_path / "backup")
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    write(again, [a_document(2), a_document(3)])
    again.close()
    shutil.copy(tmp_path / "backup", database)
    gate = threading.Event()
    catch_up = derived_module.DerivedIndexes._catch_up
    with monkeypatch.context() as held:
        held.setattr(
            derived_module.DerivedIndexes, "_catch_up", lambda self: (gate.wait(), catch_up(self))
        )
        third = EmbeddedCollection.open(
            collection.folder, FakeBiEncoder(), CONFIG, catch_up_seconds=0.0
        )
    legs = third.lexical("common", None, 5), third.dense(np.ones(64, np.float32), None, 5)
    gate.set()
    assert len(third.repairs) == 2
    errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    for loss, leg, what in zip(third.repairs, legs, ("lexical", "dense"), strict=True):
        assert "the documents of collection 'things' have lost acknowledged writes" in loss
        assert f"the {what} index had all up to number 3, {database} ends at 1" in loss
        assert "backup" in loss
        assert loss in errors
        assert loss in leg.detail
    assert third.wait_searchable(1, WAIT_SECONDS)
    assert third.verify() == []
    assert lexical_ids(third, "common") == dense_ids(third, "common") == ["d0001"]
    third.close()
