"""Collections written by earlier versions still open, with everything that was in them.

`formats/collection-N.zip` was written by this project's code when N was the format of
sidecar/storage/tables.py. A new format gets a new file; the old ones stay.
"""

from __future__ import annotations

import dataclasses
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes import BI_ENCODER_CONTRACT, FakeBiEncoder

from sidecar.config import Config
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.types import AllOf, Document, Equals, Range

FORMATS = sorted((Path(__file__).parent / "formats").glob("*.zip"))
CONTRACT = dataclasses.replace(BI_ENCODER_CONTRACT, name="words", revision="1", dimensions=64)
MOMENT = datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=UTC)
DOCUMENTS = [
    Document("a/1", {"title": "Red fox", "text": "runs"}, {"colour": "red", "year": 1999}),
    Document("ä", {"text": "Blue owl"}, {"price": 0.1, "new": True, "tags": ("x", "y")}),
    Document("own", {"text": "Elk"}, {"seen": MOMENT}, [3.0, *[0.0] * 63]),
    Document("gone", {"text": "Red herring"}),
]


@pytest.mark.parametrize("archive", FORMATS, ids=lambda path: path.name)
def test_an_earlier_format_opens(archive: Path, tmp_path: Path):
    with zipfile.ZipFile(archive) as files:
        files.extractall(tmp_path)
    collection = EmbeddedCollection.open(tmp_path / "things", FakeBiEncoder(CONTRACT), Config())
    assert (*collection.verify(), *collection.repairs) == ()
    read = collection.get(["a/1", "ä", "own", "gone"], include_vectors=True)
    assert [dataclasses.replace(document, vector=None) for document in read] == [
        dataclasses.replace(document, vector=None) for document in DOCUMENTS[:3]
    ]
    assert read[2].vector == [1.0, *[0.0] * 63]
    stats = collection.stats()
    assert (stats.durable_sequence, stats.lexical_count, stats.dense_count) == (5, 3, 3)
    filter = AllOf((Equals("colour", "red"), Range("year", upper=2000)))
    assert [r.doc_id for r in collection.lexical("foxes", filter, 5).recalled] == ["a/1"]
    vector = FakeBiEncoder(CONTRACT).encode_queries(["Blue owl"])[0]
    assert collection.dense(vector, None, 1).recalled[0].doc_id == "ä"
    collection.close()


@pytest.mark.parametrize("archive", FORMATS[1:], ids=lambda path: path.name)
def test_both_generations_since_format_2_are_there(archive: Path, tmp_path: Path):
    with zipfile.ZipFile(archive) as files:
        files.extractall(tmp_path)
    other = FakeBiEncoder(dataclasses.replace(CONTRACT, revision="2", dimensions=32))
    collection = EmbeddedCollection.open(tmp_path / "things", other, Config())
    assert (*collection.verify(), *collection.repairs) == ()
    assert collection.describe().dimensions == 32
    vector = other.encode_queries(["Blue owl"])[0]
    assert collection.dense(vector, None, 1).recalled[0].doc_id == "ä"
    collection.close()


def test_writes_of_format_3_are_known_by_their_request_ids(tmp_path: Path):
    with zipfile.ZipFile(FORMATS[2]) as files:
        files.extractall(tmp_path)
    collection = EmbeddedCollection.open(tmp_path / "things", FakeBiEncoder(CONTRACT), Config())
    again = collection.upsert(DOCUMENTS, request_id="first", expected_versions=[0] * 4)
    assert (again.repeated, again.sequence, again.versions) == (True, 4, (1, 2, 3, 4))
    gone = collection.delete(["gone"], request_id="second")
    assert (gone.repeated, gone.sequence, gone.count) == (True, 5, 1)
    assert collection.get(["gone"]) == []
    collection.close()


@pytest.mark.parametrize("archive", FORMATS, ids=lambda path: path.name)
def test_an_earlier_format_takes_all_writes(archive: Path, tmp_path: Path):
    with zipfile.ZipFile(archive) as files:
        files.extractall(tmp_path)
    collection = EmbeddedCollection.open(tmp_path / "things", FakeBiEncoder(CONTRACT), Config())
    (before,) = collection.get(["ä"])
    assert before.version == 2
    new = [Document("ä", {"text": "Red owl"})]
    assert collection.upsert(new, request_id="x", expected_versions=[1]).conflicts
    written = collection.upsert(new, request_id="x", expected_versions=[2])
    assert written.versions == (written.sequence,)
    assert written.sequence > 5
    assert collection.wait_searchable(written.sequence, 60.0)
    assert {r.doc_id for r in collection.lexical("red", None, 5).recalled} == {"a/1", "ä"}
    collection.close()
    again = EmbeddedCollection.open(tmp_path / "things", FakeBiEncoder(CONTRACT), Config())
    assert again.upsert(new, request_id="x", expected_versions=[2]).repeated
    assert again.verify() == []
    again.close()


def test_the_current_format_is_among_them():
    from sidecar.storage.tables import FORMAT

    assert f"collection-{FORMAT}.zip" in [path.name for path in FORMATS]
