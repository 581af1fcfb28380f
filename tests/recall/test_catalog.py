"""The catalog: names, creation and dropping, and one damaged collection among others."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from fakes import FakeBiEncoder
from recalling import SCHEMA, WAIT_SECONDS, a_document, write

from sidecar.config import Config
from sidecar.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    InvalidFieldError,
    StorageError,
)
from sidecar.recall.catalog import Catalog
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


def test_a_file_in_the_way_is_said(tmp_path: Path):
    (tmp_path / "collections").write_text("not a folder")
    with pytest.raises(StorageError):
        open_catalog(tmp_path)
    (tmp_path / "collections").unlink()
    open_catalog(tmp_path).close()
