"""A folder that nobody uses: what is wrong and what a start would do is said, and no byte of it
changes."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import FakeBiEncoder
from recalling import SCHEMA, WAIT_SECONDS, Encoder, a_collection, a_document, write

from sidecar.config import Config, DenseIndexConfig
from sidecar.errors import StorageError
from sidecar.recall.catalog import Catalog
from sidecar.recall.catalog.offline import verify_offline
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.embedded.offline import Examined, examine
from sidecar.recall.encoding import identity_of
from sidecar.storage.progress import unheard

COUNT = 30
EARLIER = sorted((Path(__file__).parents[1] / "formats").glob("*.zip"))[:-1]
DENSE = "the dense index of fake-words at revision fake-1"


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def examined(folder: Path) -> Examined:
    """Also asserts that nothing changed."""
    before = contents(folder)
    found = examine(folder, DenseIndexConfig(kind="fp16"), unheard)
    assert contents(folder) == before
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """That of a collection that was closed in order."""
    collection = a_collection(tmp_path)
    write(collection, [a_document(n, year=n) for n in range(COUNT)])
    collection.delete(["d0003"])
    assert collection.wait_searchable(collection.durable_sequence, WAIT_SECONDS)
    collection.close()
    return collection.folder


def test_all_is_well(folder: Path) -> None:
    assert examined(folder) == Examined("things", COUNT - 1)


def test_what_a_crash_left_is_read_with_its_log(tmp_path: Path) -> None:
    collection = a_collection(tmp_path)
    write(collection, [a_document(n) for n in range(COUNT)])
    shutil.copytree(collection.folder, tmp_path / "crashed")
    write(collection, [a_document(n) for n in range(COUNT, COUNT + 5)])
    for name in ("documents.sqlite", "documents.sqlite-wal"):  # the indexes are as they were
        shutil.copy(collection.folder / name, tmp_path / "crashed" / name)
    (tmp_path / "crashed" / "documents.sqlite-shm").unlink()
    collection.close()
    found = examined(tmp_path / "crashed")
    assert (found.document_count, found.findings) == (COUNT + 5, [])
    assert found.coming == [
        f"the lexical index would be brought from write {COUNT} to {COUNT + 5}",
        f"{DENSE} would be built of {COUNT + 5} vectors",
    ]


@pytest.mark.parametrize("archive", EARLIER, ids=lambda path: path.name)
def test_an_earlier_format_is_left_to_a_start(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as files:
        files.extractall(tmp_path)
    found = examined(tmp_path / "things")
    assert (found.document_count, found.findings) == (None, [])
    assert "a start brings it to format" in found.coming[0]


def test_an_index_of_lost_documents_says_so(folder: Path) -> None:
    shutil.rmtree(folder / "dense-1")
    with contextlib.closing(sqlite3.connect(folder / "documents.sqlite")) as connection:
        connection.execute("UPDATE meta SET value = 20 WHERE key IN ('number', 'sequence')")
        connection.commit()
    found = examined(folder)
    assert any("have lost acknowledged writes" in finding for finding in found.findings)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a segment": (
        lambda folder: damage(next((folder / "lexical").glob("*.term"))),
        "the lexical index cannot be used",
        "the lexical index would be set aside and built anew",
    ),
    "no meta.json": (
        lambda folder: (folder / "lexical" / "meta.json").unlink(),
        "the lexical index cannot be used",
        "the lexical index would be set aside and built anew",
    ),
    "no lexical index": (
        lambda folder: shutil.rmtree(folder / "lexical"),
        "",
        "the lexical index would be built of all documents",
    ),
    "a dense manifest": (
        lambda folder: damage(folder / "dense-1" / "manifest.json"),
        f"{DENSE} cannot be used",
        f"{DENSE} would be set aside and built anew",
    ),
    "a dense file": (
        lambda folder: damage(
            max((folder / "dense-1").iterdir(), key=lambda each: each.stat().st_size)
        ),
        f"{DENSE} cannot be used",
        f"{DENSE} would be set aside and built anew",
    ),
    "no dense index": (
        lambda folder: shutil.rmtree(folder / "dense-1"),
        "",
        f"{DENSE} would be built of {COUNT - 1} vectors",
    ),
    "no database": (
        lambda folder: (folder / "documents.sqlite").unlink(),
        "documents.sqlite: missing",
        "would not be served",
    ),
    "another file": (
        lambda folder: (folder / "documents.sqlite").write_bytes(b"no database" * 999),
        "documents.sqlite: not a database",
        "would not be served",
    ),
}


@pytest.mark.parametrize("which", DAMAGES)
def test_damage_is_said_and_left(folder: Path, which: str) -> None:
    plant, finding, coming = DAMAGES[which]
    plant(folder)
    found = examined(folder)
    assert any(finding in each for each in found.findings) if finding else found.findings == []
    assert any(coming in each for each in found.coming), found


def test_a_damaged_number_is_said_and_ends_nothing(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "documents.sqlite")) as connection:
        connection.execute("UPDATE documents SET sequence = '3x' WHERE doc_id = 'd0007'")
        connection.commit()
    found = examined(folder)
    assert any("the lexical index cannot be compared" in finding for finding in found.findings)


def test_a_generation_under_way_says_what_is_left(folder: Path) -> None:
    collection = EmbeddedCollection.open(folder, FakeBiEncoder(), Config())
    other = Encoder("fake-2")
    other.failing = "no memory"
    collection.add_generation(other)
    collection.close()
    found = examined(folder)
    assert found.findings == []
    assert f"{COUNT - 1} documents would get a vector of {identity_of(other)}" in found.coming


def test_a_data_folder_collection_by_collection(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path, FakeBiEncoder(), Config())
    for name in ("pears", "apples"):
        write(catalog.create(name, SCHEMA), [a_document(1)])
    assert catalog.get("pears").wait_searchable(1, WAIT_SECONDS)
    with pytest.raises(StorageError, match="in use by another sidecar"):
        list(verify_offline(tmp_path, Config()))
    catalog.close()
    (tmp_path / "collections" / ".creating-x").mkdir()
    before = contents(tmp_path)
    found = list(verify_offline(tmp_path, Config()))
    assert [each.name for each in found] == [".creating-x", "apples", "pears"]
    assert "would be removed" in found[0].coming[0]
    assert [each.findings for each in found] == [[], [], []]
    assert contents(tmp_path) == before
