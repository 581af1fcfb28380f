"""The catalog: names, creation and dropping, and one damaged collection among others."""

from __future__ import annotations

import contextlib
import gc
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from fakes import FakeBiEncoder
from recalling import SCHEMA, WAIT_SECONDS, Encoder, a_document, write

from sidecar.config import Config
from sidecar.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    DamagedError,
    InvalidFieldError,
    StorageError,
)
from sidecar.recall.catalog import Catalog
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.types import Schema


def open_catalog(folder: Path) -> Catalog:
    return Catalog.open(folder, FakeBiEncoder(), Config())


@pytest.fixture
def catalog(tmp_path: Path):
    catalog = open_catalog(tmp_path / "data")
    yield catalog
    catalog.close()


def test_created_listed_found(catalog: Catalog):
    for name in ("zebras", "apples"):
        assert catalog.create(name, SCHEMA).name == name
    assert [collection.name for collection in catalog.list()] == ["apples", "zebras"]
    assert catalog.get("zebras").schema == SCHEMA
    with pytest.raises(CollectionNotFoundError):
        catalog.get("pears")
    with pytest.raises(CollectionNotFoundError):
        catalog.drop("pears")
    with pytest.raises(CollectionExistsError):
        catalog.create("apples", Schema())


@pytest.mark.parametrize("name", ["", "A", "1a", "a b", "../a", ".a", "a" * 65, "ä"])
def test_bad_names(catalog: Catalog, name: str):
    with pytest.raises(InvalidFieldError) as caught:
        catalog.create(name, SCHEMA)
    assert caught.value.field == "name"


def test_opened_again_all_is_there(tmp_path: Path):
    catalog = open_catalog(tmp_path)
    write(catalog.create("apples", SCHEMA), [a_document(1)])
    catalog.create("pears", Schema())
    catalog.close()
    catalog.close()
    again = open_catalog(tmp_path)
    assert [c.describe().document_count for c in again.list()] == [1, 0]
    assert again.get("pears").schema == Schema()
    again.close()


def test_a_second_process_is_refused(tmp_path: Path, catalog: Catalog):
    with pytest.raises(StorageError, match="in use by another sidecar"):
        open_catalog(tmp_path / "data")


def test_dropped_is_gone_and_the_name_is_free(tmp_path: Path, catalog: Catalog):
    write(catalog.create("apples", SCHEMA), [a_document(1)])
    catalog.drop("apples")
    with pytest.raises(CollectionNotFoundError):
        catalog.get("apples")
    assert catalog.create("apples", Schema()).stats().document_count == 0
    gc.collect()
    assert [p.name for p in (tmp_path / "data" / "collections").iterdir()] == ["apples"]


def test_nothing_goes_on_by_the_name_of_a_dropped_one(
    tmp_path: Path, catalog: Catalog, monkeypatch
):
    collection = catalog.create("apples", SCHEMA)
    folder = tmp_path / "data" / "collections" / "apples"
    at_work, gate, stood = threading.Event(), threading.Event(), []
    apply, retire = collection._derived.lexical.apply, collection.retire

    def wait_then_apply(changes):
        at_work.set()
        gate.wait()
        stood.append(folder.exists())
        apply(changes)

    monkeypatch.setattr(collection._derived.lexical, "apply", wait_then_apply)
    monkeypatch.setattr(collection, "retire", lambda: (gate.set(), retire()))
    collection.upsert([a_document(1, "old")])
    assert at_work.wait(WAIT_SECONDS)
    catalog.drop("apples")
    assert stood == [True]
    again = catalog.create("apples", SCHEMA)
    write(again, [a_document(2, "new")])
    assert [each.doc_id for each in again.lexical("common", None, 5).recalled] == ["d0002"]
    assert again.verify() == []


@pytest.mark.parametrize("call", range(1, 20))
def test_a_creation_that_fails_leaves_nothing(tmp_path: Path, monkeypatch, call: int):
    """Whichever of the calls that the disk may refuse it is; all succeed by the last ones."""
    catalog = open_catalog(tmp_path)
    catalog.add_generation(Encoder())
    calls = []

    def counted(works):
        def fail(*arguments, **options):
            calls.append(works.__name__)
            if len(calls) == call:
                raise OSError(28, "No space left on device")
            return works(*arguments, **options)

        return fail

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", counted(Path.rename))
        broken.setattr(Path, "mkdir", counted(Path.mkdir))
        broken.setattr("os.open", counted(os.open))
        broken.setattr("os.fsync", counted(os.fsync))
        with contextlib.suppress(StorageError):
            catalog.create("apples", SCHEMA)
    if not catalog.list():
        catalog.create("apples", SCHEMA)
    write(catalog.get("apples"), [a_document(1)])
    assert [each.name for each in (tmp_path / "collections").iterdir()] == ["apples"]
    catalog.close()
    assert len(calls) < 19  # the last one tried is one too many


@pytest.mark.parametrize("failing", ["rename", "sync_folder"])
def test_a_drop_that_fails_leaves_it_as_it_was(tmp_path: Path, monkeypatch, failing: str):
    catalog = open_catalog(tmp_path)
    write(catalog.create("apples", SCHEMA), [a_document(1)])

    def fail(*arguments):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        if failing == "rename":
            broken.setattr(Path, "rename", fail)
        else:
            broken.setattr("sidecar.storage.files.sync_folder", fail)
        with pytest.raises(StorageError, match="input/output"):
            catalog.drop("apples")
    write(catalog.get("apples"), [a_document(2)])
    catalog.close()
    again = open_catalog(tmp_path)
    assert again.get("apples").describe().document_count == 2
    assert again.get("apples").verify() == []
    again.drop("apples")
    assert again.list() == []
    again.close()


def test_a_search_under_way_finishes_on_what_it_opened(tmp_path: Path, catalog: Catalog):
    collection = catalog.create("apples", SCHEMA)
    write(collection, [a_document(1, "red fox")])
    catalog.drop("apples")
    assert [r.doc_id for r in collection.lexical("fox", None, 5).recalled] == ["d0001"]
    vector = FakeBiEncoder().encode_queries(["fox"])[0]
    assert len(collection.dense(vector, None, 5).recalled) == 1
    assert collection.passages(["d0001"]) == {"d0001": "common\nred fox"}
    with pytest.raises(StorageError, match="dropped"):
        collection.upsert([a_document(2)])
    assert len(list((tmp_path / "data" / "collections").iterdir())) == 1
    del collection
    gc.collect()
    assert list((tmp_path / "data" / "collections").iterdir()) == []


def test_leftovers_of_a_crash_are_removed(tmp_path: Path):
    open_catalog(tmp_path).close()
    for name in (".creating-apples", ".dropped-123"):
        (tmp_path / "collections" / name).mkdir()
        (tmp_path / "collections" / name / "file").write_text("x")
    catalog = open_catalog(tmp_path)
    assert list((tmp_path / "collections").iterdir()) == []
    catalog.create("apples", SCHEMA)
    catalog.close()


def test_a_damaged_collection_leaves_the_others_serving(tmp_path: Path):
    catalog = open_catalog(tmp_path)
    for name in ("apples", "pears"):
        write(catalog.create(name, SCHEMA), [a_document(1)])
    catalog.close()
    (tmp_path / "collections" / "apples" / "documents.sqlite").write_bytes(b"x" * 9000)
    again = open_catalog(tmp_path)
    assert [collection.name for collection in again.list()] == ["pears"]
    assert list(again.unopened()) == ["apples"]
    with pytest.raises(StorageError, match="damaged"):
        again.get("apples")
    with pytest.raises(CollectionExistsError):
        again.create("apples", SCHEMA)
    again.drop("apples")
    assert again.unopened() == {}
    fresh = again.create("apples", SCHEMA)
    assert fresh.wait_searchable(0, WAIT_SECONDS)
    again.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE meta SET value = replace(value, '[', '{') WHERE key = 'schema'",
        "UPDATE meta SET value = replace(value, 'string', 'strinG') WHERE key = 'schema'",
        "UPDATE meta SET value = 'x' WHERE key = 'sequence'",
        "UPDATE meta SET value = 7 WHERE key = 'schema'",
        "DELETE FROM meta WHERE key = 'name'",
        "DELETE FROM meta WHERE key = 'leading'",
    ],
)
def test_a_damaged_description_leaves_the_others_serving(tmp_path: Path, statement: str):
    catalog = open_catalog(tmp_path)
    for name in ("apples", "pears"):
        write(catalog.create(name, SCHEMA), [a_document(1)])
    catalog.close()
    path = tmp_path / "collections" / "apples" / "documents.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(statement)
    again = open_catalog(tmp_path)
    assert [collection.name for collection in again.list()] == ["pears"]
    with pytest.raises(DamagedError, match="backup") as caught:
        again.get("apples")
    assert str(path) in caught.value.message
    again.close()


def test_whatever_one_collection_raises_the_others_are_served(tmp_path: Path, monkeypatch, caplog):
    catalog = open_catalog(tmp_path)
    for name in ("apples", "pears"):
        catalog.create(name, SCHEMA)
    catalog.close()
    opened = EmbeddedCollection.open

    def fail_on_apples(folder: Path, *arguments):
        if folder.name == "apples":
            raise MemoryError("made to fail")
        return opened(folder, *arguments)

    monkeypatch.setattr(EmbeddedCollection, "open", fail_on_apples)
    again = open_catalog(tmp_path)
    assert [collection.name for collection in again.list()] == ["pears"]
    with pytest.raises(StorageError, match="MemoryError"):
        again.get("apples")
    assert "made to fail" in caplog.text
    again.close()


def test_a_file_in_the_way_is_said(tmp_path: Path):
    (tmp_path / "collections").write_text("not a folder")
    with pytest.raises(StorageError):
        open_catalog(tmp_path)
    (tmp_path / "collections").unlink()
    open_catalog(tmp_path).close()
