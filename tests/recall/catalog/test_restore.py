"""A backup made while a writer goes on, and what it is restored to: a dictionary of what was
acknowledged up to its sequence number, and nothing else."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeBiEncoder
from recalling import SCHEMA, WAIT_SECONDS, Encoder, a_document, write
from steady import IDS, SteadyWriter

from sidecar.config import Config
from sidecar.errors import CollectionExistsError, DamagedError, InvalidFieldError, StorageError
from sidecar.models.base import BiEncoder
from sidecar.recall.catalog import Catalog
from sidecar.recall.catalog.offline import restore_offline
from sidecar.recall.collection import Collection
from sidecar.recall.encoding import identity_of
from sidecar.storage.backup import Backups
from sidecar.storage.progress import unheard
from sidecar.types import Document

KILLED = 9


@pytest.fixture
def catalog(tmp_path: Path):
    catalog = Catalog.open(tmp_path / "data", FakeBiEncoder(), Config())
    yield catalog
    catalog.close()


@pytest.fixture
def backups(tmp_path: Path) -> Backups:
    return Backups(str(tmp_path / "backups"))


def texts(collection: Collection) -> dict[str, str]:
    return {each.doc_id: each.fields["text"] for each in collection.get(IDS)}


def test_a_backup_under_a_writer_is_what_was_acknowledged_up_to_its_sequence(
    catalog: Catalog, backups: Backups
) -> None:
    collection = catalog.create("things", SCHEMA)
    writer = SteadyWriter(collection)
    writer.start()
    made = []
    try:
        for _ in range(4):
            seen = collection.stats().durable_sequence
            made.append(backups.make("things", collection.back_up, unheard))
            assert made[-1].sequence >= seen, "what was acknowledged before is in it"
            while collection.stats().durable_sequence < made[-1].sequence + 20:
                collection.wait_searchable(made[-1].sequence + 20, 1.0)
    finally:
        writer.ending.set()
        writer.join()
    assert len({backup.sequence for backup in made}) == 4
    for number, backup in enumerate(made):
        restored = catalog.restore(backups.path(backup.name), f"restored-{number}")
        assert (restored.sequence, restored.document_count) == (
            backup.sequence,
            backup.document_count,
        )
        again = catalog.get(f"restored-{number}")
        assert texts(again) == writer.replayed(backup.sequence)
        assert again.stats().document_count == backup.document_count
        assert again.wait_searchable(backup.sequence, WAIT_SECONDS)
        assert again.verify() == []
    assert texts(collection) == writer.replayed(collection.stats().durable_sequence)


def documents(count: int) -> list[Document]:
    vectors = np.random.default_rng(3).normal(size=(count, 64)).astype(np.float32)
    return [
        Document(
            f"d{n:04}", {"title": "common", "text": f"word{n}"}, {"year": n}, vectors[n].tolist()
        )
        for n in range(count)
    ]


def test_restored_beside_the_original_it_is_equal_and_another_one(
    catalog: Catalog, backups: Backups, tmp_path: Path
) -> None:
    collection = catalog.create("things", SCHEMA)
    write(collection, documents(30))
    collection.delete(["d0003"])
    made = backups.make("things", collection.back_up, unheard)
    restored = catalog.restore(backups.path(made.name), "again")
    assert restored.collection == "again"
    assert restored.rebuilt == (
        "the lexical index",
        "the dense index of fake-words at revision fake-1",
    )
    again = catalog.get("again")
    assert again.get(IDS, include_vectors=True) == collection.get(IDS, include_vectors=True)
    assert again.schema == collection.schema
    assert again.describe().incarnation != collection.describe().incarnation
    assert again.wait_searchable(made.sequence, WAIT_SECONDS)
    query = FakeBiEncoder().encode_queries(["word7"])[0]
    for one, other in (
        (again.lexical("common word7", None, 50), collection.lexical("common word7", None, 50)),
        (again.dense(query, None, 50), collection.dense(query, None, 50)),
    ):
        assert [each.doc_id for each in one.recalled] == [each.doc_id for each in other.recalled]
        assert len(one.recalled) == 29
    assert again.upsert([a_document(40)]).sequence == made.sequence + 1
    assert catalog.drop("things") is None
    catalog.restore(backups.path(made.name))
    assert texts(catalog.get("things")).keys() == set(IDS[:30]) - {"d0003"}
    catalog.close()
    reopened = Catalog.open(tmp_path / "data", FakeBiEncoder(), Config())
    assert [each.name for each in reopened.list()] == ["again", "things"]
    assert [each.verify() for each in reopened.list()] == [[], []]
    assert len(reopened.get("again").get(IDS)) == 30
    reopened.close()


def test_with_another_bi_encoder_the_vectors_are_made_while_it_is_served(
    catalog: Catalog, backups: Backups, tmp_path: Path
) -> None:
    collection = catalog.create("things", SCHEMA)
    write(collection, [a_document(n) for n in range(30)])
    made = backups.make("things", collection.back_up, unheard)
    other: BiEncoder = Encoder("fake-2")
    there = Catalog.open(tmp_path / "there", other, Config())
    restored = there.restore(backups.path(made.name))
    assert "the vectors of fake-words at revision fake-2" in restored.rebuilt
    again = there.get("things")
    assert texts(again) == texts(collection)
    assert again.describe().bi_encoder_revision == "fake-2"
    assert there.wait_generation(identity_of(other), WAIT_SECONDS)
    assert again.wait_searchable(made.sequence, WAIT_SECONDS)
    leg = again.dense(other.encode_queries(["common word7"])[0], None, 1)
    assert [each.doc_id for each in leg.recalled] == ["d0007"]
    assert again.verify() == []
    there.close()


def test_a_name_in_use_is_refused_and_nothing_is_left(
    catalog: Catalog, backups: Backups, tmp_path: Path
) -> None:
    collection = catalog.create("things", SCHEMA)
    write(collection, [a_document(n) for n in range(5)])
    made = backups.path(backups.make("things", collection.back_up, unheard).name)
    with pytest.raises(CollectionExistsError):
        catalog.restore(made)
    with pytest.raises(InvalidFieldError, match="collection"):
        catalog.restore(made, "../x")
    with (made / "documents.sqlite").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DamagedError, match=r"documents\.sqlite: damaged"):
        catalog.restore(made, "again")
    with pytest.raises(DamagedError, match="is no backup"):
        catalog.restore(tmp_path, "again")
    assert [path.name for path in (tmp_path / "data" / "collections").iterdir()] == ["things"]
    assert [each.name for each in catalog.list()] == ["things"]


@pytest.mark.parametrize(
    "refused", ["restoring.adopt", "restoring.rename_durably", "opening.EmbeddedCollection.open"]
)
def test_what_the_disk_refuses_leaves_the_name_free(
    catalog: Catalog,
    backups: Backups,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: str,
) -> None:
    collection = catalog.create("things", SCHEMA)
    write(collection, [a_document(n) for n in range(5)])
    made = backups.path(backups.make("things", collection.back_up, unheard).name)

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(f"sidecar.recall.catalog.{refused}", refuse)
    with pytest.raises(StorageError, match="the disk is full"):
        catalog.restore(made, "again")
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "data" / "collections").iterdir()] == ["things"]
    assert catalog.restore(made, "again").document_count == 5


def test_a_name_that_is_taken_meanwhile_is_refused(catalog: Catalog, backups: Backups) -> None:
    collection = catalog.create("things", SCHEMA)
    made = backups.path(backups.make("things", collection.back_up, unheard).name)

    def take(step: str, done: int, total: int) -> None:
        catalog.create("again", SCHEMA)

    with pytest.raises(CollectionExistsError):
        catalog.restore(made, "again", take)
    assert catalog.get("again").stats().durable_sequence == 0


@pytest.mark.parametrize("earlier", ["collection-1.zip", "collection-2.zip"])
def test_a_database_of_an_earlier_format_is_restored(
    catalog: Catalog, tmp_path: Path, earlier: str
) -> None:
    """As a server of that time would have backed it up; the manifest is written here."""
    folder = tmp_path / "things-20200101T000000.000Z"
    folder.mkdir()
    with zipfile.ZipFile(Path(__file__).parents[1] / "formats" / earlier) as files:
        content = files.read("things/documents.sqlite")
        assert "things/documents.sqlite-wal" not in files.namelist()
    (folder / "documents.sqlite").write_bytes(content)
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "format": 1,
        "collection": "things",
        "created": "2020-01-01T00:00:00+00:00",
        "sequence": 5,
        "document_count": 3,
        "files": {"documents.sqlite": entry},
    }
    body = json.dumps(manifest).encode()
    signature = hashlib.sha256(body).hexdigest().encode()
    (folder / "manifest.json").write_bytes(signature + b"\n" + body)
    catalog.restore(folder)
    again = catalog.get("things")
    assert [each.doc_id for each in again.get(["a/1", "ä", "own", "gone"])] == ["a/1", "ä", "own"]
    assert again.wait_searchable(5, WAIT_SECONDS)
    assert again.verify() == []
    assert again.upsert([Document("new", {"text": "Hen"})]).sequence > 5


def test_offline_it_is_there_at_the_next_start(
    catalog: Catalog, backups: Backups, tmp_path: Path
) -> None:
    collection = catalog.create("things", SCHEMA)
    write(collection, [a_document(n) for n in range(5)])
    made = backups.path(backups.make("things", collection.back_up, unheard).name)
    with pytest.raises(StorageError, match="in use by another sidecar"):
        restore_offline(tmp_path / "data", made, "again")
    assert restore_offline(tmp_path / "new", made, "again").document_count == 5
    with pytest.raises(CollectionExistsError):
        restore_offline(tmp_path / "new", made, "again")
    there = Catalog.open(tmp_path / "new", FakeBiEncoder(), Config())
    assert texts(there.get("again")) == texts(collection)
    assert there.get("again").verify() == []
    there.close()


def test_killed_at_any_step_the_collection_is_whole_or_not_there(tmp_path: Path) -> None:
    """The child dies at its first step, then at its second, and so on until it comes to its end."""
    catalog = Catalog.open(tmp_path / "source", FakeBiEncoder(), Config())
    collection = catalog.create("things", SCHEMA)
    write(collection, [a_document(n) for n in range(5)])
    Backups(str(tmp_path / "backups")).make("things", collection.back_up, unheard)
    catalog.close()
    call = f"import test_restore; test_restore.killed_step_by_step({str(tmp_path)!r})"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", call],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    deaths, there = json.loads(done.stdout)
    assert deaths > 9
    assert 0 < there < deaths, "some deaths came before it was there, some after"


def killed_step_by_step(folder: str) -> None:
    """The child: prints the number of deaths, and after how many the collection was there. It forks
    before it has any thread."""
    root, deaths, there, code = Path(folder), 0, 0, KILLED
    while code == KILLED:
        code = _forked(functools.partial(_restore_and_die, root, deaths))
        there += _forked(functools.partial(_check, root))
        deaths += code == KILLED
    assert code == 0
    print(json.dumps([deaths, there]))


def _forked(run: Callable[[], int]) -> int:
    child = os.fork()
    if child == 0:
        try:
            os._exit(run())
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(99)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code != 99
    return code


def _restore_and_die(root: Path, steps: int) -> int:
    """Dies before the step of that number: whatever Python does with the folder of collections."""
    left = steps

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if any("data/collections" in str(each) for each in arguments):
            left -= 1
            if left < 0:
                os._exit(KILLED)

    (backup,) = (root / "backups").glob("things-*")
    sys.addaudithook(audit)
    restore_offline(root / "data", backup)
    return 0


def _check(root: Path) -> int:
    """1 if the collection is there, whole, and it is dropped; 0 if there is nothing of it."""
    catalog = Catalog.open(root / "data", FakeBiEncoder(), Config())
    assert catalog.unopened() == {}
    names = [each.name for each in catalog.list()]
    for name in names:
        assert texts(catalog.get(name)).keys() == set(IDS[:5])
        assert catalog.get(name).verify() == []
        catalog.drop(name)
    catalog.close()
    left = [path.name for path in (root / "data" / "collections").iterdir()]
    assert not any(name.startswith(".creating-") for name in left)
    return len(names)
