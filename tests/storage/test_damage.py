"""Rows that are not what was written: what is said of them, what goes on, how they are mended."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from recalling import a_document
from storing import HEADER, MODEL, UNIT

from sidecar.errors import DamagedError
from sidecar.storage.documents import FILE_NAME, DocumentStore
from sidecar.storage.stored_generations import BiEncoderIdentity

OTHER = BiEncoderIdentity("m", "r2", 4)


def changed(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement).rowcount == 1


DAMAGES = [
    "UPDATE documents SET fields = replace(fields, 'word2', 'word3') WHERE ordinal = 2",
    "UPDATE documents SET attributes = '{\"year\":8}' WHERE ordinal = 2",
    "UPDATE documents SET fields = CAST(x'7b22ff227d' AS TEXT) WHERE ordinal = 2",
    "UPDATE documents SET fields = 5 WHERE ordinal = 2",
    "UPDATE documents SET sequence = 77 WHERE ordinal = 2",
    "UPDATE documents SET checksum = checksum + 1 WHERE ordinal = 2",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_document_is_told_of_and_can_be_written_again(
    store: DocumentStore, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.write([a_document(n, year=7) for n in (1, 2, 3)], [UNIT] * 3, MODEL)
    changed(store.path, damage)
    with pytest.raises(DamagedError, match=r"document 'd0002' is damaged.*write it again") as told:
        store.get(["d0001", "d0002"])
    assert told.value.metadata == {"doc_id": "d0002"}
    assert len(store.get(["d0001", "d0003"])) == 2
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert set(store.fields(["d0001", "d0002", "d0003"])) == {"d0001", "d0003"}
            assert set(store.attributes(["d0002", "d0003"])) == {"d0003"}
    assert [record.message for record in caplog.records if "'d0002'" in record.message] == [
        "left out of answers and indexes: document 'd0002' is damaged on the disk: write it "
        "again, or delete it"
    ]
    if "sequence" not in damage:
        changes = store.text_changes(0, 10, 10**9)
        assert [each.ordinal for each in changes.written] == [1, 3]
        assert (changes.upto, changes.deleted) == (3, [2])
    assert any("'d0002' is damaged" in finding for finding in store.check_integrity())
    store.write([a_document(2, "mended")], [UNIT], MODEL)
    assert store.get(["d0002"])[0].fields["text"] == "mended"
    assert store.check_integrity() == []


def test_a_damaged_vector_is_told_of_and_can_be_written_again(store: DocumentStore) -> None:
    store.write([a_document(n) for n in (1, 2, 3)], [UNIT] * 3, MODEL)
    generation = store.generations[MODEL]
    for damage in (
        "UPDATE vectors_1 SET vector = x'000000400000000000000000000000ff' WHERE ordinal = 2",
        "UPDATE vectors_1 SET vector = 5 WHERE ordinal = 2",
    ):
        changed(store.path, damage)
        with pytest.raises(DamagedError, match="the vector of document 'd0002' is damaged"):
            store.get(["d0002"], include_vectors=True)
        assert store.get(["d0002"])[0].fields["text"] == "word2"
        assert set(store.vectors(["d0001", "d0002"], None)) == {"d0001"}
        changes = generation.changes(0, 10)
        assert changes.ordinals.tolist() == [1, 3]
        assert 2 in changes.forget
        (finding,) = store.check_integrity()
        assert "of document 'd0002' is damaged" in finding
        store.write([a_document(2)], [UNIT], MODEL)
        assert set(store.vectors(["d0001", "d0002"], None)) == {"d0001", "d0002"}
        assert store.check_integrity() == []


def flipped_id(folder: Path, damaged: bytes) -> DocumentStore:
    """Of three documents, d0002 has another id in its row, and its own in the index of ids."""
    store = DocumentStore.create(folder, HEADER, MODEL)
    store.write([a_document(n, year=7) for n in (1, 2, 3)], [UNIT] * 3, MODEL)
    store.close()
    path = folder / FILE_NAME
    content = path.read_bytes()
    row = content.index(b"word2")
    at = content.rindex(b"d0002", row - 60, row)
    path.write_bytes(content[:at] + damaged + content[at + len(damaged) :])
    return DocumentStore.open(folder)


@pytest.mark.parametrize("damaged", [b"d0102", b"d0003", b"d\xb0002"])
@pytest.mark.parametrize("mending", ["written", "deleted"])
def test_a_flipped_bit_in_an_id_is_no_other_document_and_can_be_mended(
    tmp_path: Path, damaged: bytes, mending: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = flipped_id(tmp_path, damaged)
    for _ in range(2):
        assert store.doc_ids([1, 2, 3]) == {1: "d0001", 3: "d0003"}
    assert caplog.text.count("is damaged on the disk") == 1
    assert store.check_integrity()
    if mending == "written":
        store.write([a_document(2, "again")], [UNIT], MODEL)
        assert store.doc_ids([1, 2, 3]) == {1: "d0001", 2: "d0002", 3: "d0003"}
    else:
        assert store.delete(["d0002"]) == (4, [2])
        assert store.doc_ids([1, 2, 3]) == {1: "d0001", 3: "d0003"}
        assert store.get(["d0002"]) == []
    assert store.check_integrity() == []
    store.close()


def test_what_filters_find_is_compared_with_the_documents(store: DocumentStore) -> None:
    store.write([a_document(1, year=7, tags=("x", "y"))], [UNIT], MODEL)
    for damage in (
        "UPDATE attribute_values SET value = 8 WHERE name = 'year'",
        "DELETE FROM attribute_values WHERE value = 'x'",
    ):
        changed(store.path, damage)
        assert any("what filters find of document 'd0001'" in f for f in store.check_integrity())
        store.write([a_document(1, year=7, tags=("x", "y"))], [UNIT], MODEL)
        assert store.check_integrity() == []


def test_a_damaged_document_gets_no_vector_and_stops_nobody(store: DocumentStore) -> None:
    store.write([a_document(n) for n in (1, 2, 3)], [None] * 3, MODEL)
    changed(store.path, DAMAGES[0])
    other = store.add_generation(OTHER)
    while not other.is_encoded:
        bare = other.unencoded(1)
        other.add(bare, np.stack([UNIT] * len(bare.versions)) if bare.versions else UNIT[:0])
    assert other.count() == 2


def test_a_damaged_description_is_not_opened(tmp_path: Path) -> None:
    DocumentStore.create(tmp_path, HEADER, MODEL).close()
    for key, was, now in (("name", "things", "thinks"), ("collection_id", "id-1", "id-3")):
        changed(tmp_path / FILE_NAME, f"UPDATE meta SET value = '{now}' WHERE key = '{key}'")
        with pytest.raises(DamagedError, match="restore it from a backup"):
            DocumentStore.open(tmp_path)
        changed(tmp_path / FILE_NAME, f"UPDATE meta SET value = '{was}' WHERE key = '{key}'")
    DocumentStore.open(tmp_path).close()
