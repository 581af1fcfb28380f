"""Generations on disk: replay against a dictionary, what counts as encoded, old databases."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from recalling import SCHEMA, a_document

from sidecar.errors import StorageError
from sidecar.storage import documents as documents_module
from sidecar.storage import statements, tables
from sidecar.storage import stored_generations as generations_module
from sidecar.storage.documents import FILE_NAME, DocumentStore
from sidecar.storage.headers import Header
from sidecar.storage.stored_generations import BiEncoderIdentity, StoredGeneration, Unencoded
from sidecar.types import Document

HEADER = Header("id-1", "things", SCHEMA)
OLD, NEW = BiEncoderIdentity("m", "r1", 4), BiEncoderIdentity("m", "r2", 3)
UNIT = np.array([1, 0, 0, 0], np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DocumentStore]:
    store = DocumentStore.create(tmp_path, HEADER, OLD)
    yield store
    store.close()


def write(store: DocumentStore, *documents: Document, by: BiEncoderIdentity = OLD) -> int:
    vectors = [vector_of(document.fields["text"], by) for document in documents]
    return store.write(documents, vectors, by)


def vector_of(text: str, identity: BiEncoderIdentity) -> np.ndarray:
    """A vector that says of which text and of which bi-encoder it is."""
    rng = np.random.default_rng([*text.encode(), *identity.revision.encode()])
    return rng.random(identity.dimensions).astype(np.float32)


def encode(generation: StoredGeneration, limit: int) -> Unencoded:
    bare = generation.unencoded(limit)
    vectors = [vector_of(fields["text"], generation.bi_encoder) for fields in bare.fields]
    empty = np.empty((0, generation.bi_encoder.dimensions), np.float32)
    generation.add(bare, np.stack(vectors) if vectors else empty)
    return bare


def replayed(generation: StoredGeneration, limit: int, held: dict | None = None, at: int = 0):
    held = dict(held or {})
    while at < generation.last_number:
        changes = generation.changes(at, limit)
        assert changes.upto > at
        for ordinal in changes.forget:
            held.pop(ordinal, None)
        rows = (tuple(row) for row in changes.vectors.tolist())
        held |= dict(zip(changes.ordinals.tolist(), rows, strict=True))
        at = changes.upto
    return held


def truth(store: DocumentStore, generation: StoredGeneration) -> dict[int, tuple[float, ...]]:
    """What the generation is to hold of the documents that it has encoded."""
    with sqlite3.connect(store.path) as connection:
        encoded = {
            ordinal
            for (ordinal,) in connection.execute(
                "SELECT ordinal FROM encoded WHERE generation = ?", (generation.generation,)
            )
        }
    connection.close()
    return {
        change.ordinal: tuple(vector_of(change.fields["text"], generation.bi_encoder).tolist())
        for change in store.text_changes(0, 10**6, 10**9).written
        if change.ordinal in encoded
    }


def test_replay_gives_the_state_whatever_the_history(store: DocumentStore):
    """Writes with and without vectors, deletions, late vectors, exchanges; two generations."""
    rng = np.random.default_rng(4)
    generations = [store.generations[OLD], store.add_generation(NEW)]
    states: list[tuple[int, list[dict[int, tuple[float, ...]]]]] = [(0, [{}, {}])]
    for step in range(80):
        numbers = [int(n) for n in rng.choice(12, size=3, replace=False)]
        documents = [a_document(n, f"v{rng.integers(99)}") for n in numbers]
        match rng.integers(6):
            case 0:
                store.delete([document.doc_id for document in documents])
            case 1:
                store.write(documents, [None] * 3, OLD)
            case 2:
                encode(generations[step % 2], int(rng.integers(1, 4)))
            case 3:
                store.lead(NEW if step % 2 else OLD)
            case _:
                assert store.leading is not None
                write(store, *documents, by=store.leading.bi_encoder)
        for generation in generations:
            bare = {f for f, _ in generation.unencoded(100).versions}
            living = store.sequences()
            wanted = truth(store, generation)
            assert replayed(generation, 1000) == wanted
            assert set(living) - set(wanted) == bare
            late = {o for o, sequence in living.items() if sequence <= generation.encoded_sequence}
            assert late <= set(wanted)
            assert generation.is_encoded <= (not bare)
            assert generation.count() == len(wanted)
        states.append((store.number, [truth(store, each) for each in generations]))
    for number, state in states:
        for position, generation in enumerate(generations):
            for limit in (1, 4, 1000):
                wanted = states[-1][1][position]
                assert replayed(generation, limit, state[position], number) == wanted
    assert store.check_integrity() == []


def test_a_vector_that_comes_late_is_not_given_to_a_changed_document(store: DocumentStore):
    store.write([a_document(1, "a"), a_document(2, "b")], [None, None], OLD)
    generation = store.generations[OLD]
    bare = generation.unencoded(10)
    assert [fields["text"] for fields in bare.fields] == ["a", "b"]
    store.write([a_document(1, "c")], [None], OLD)
    store.delete(["d0002"])
    generation.add(bare, np.stack([UNIT, UNIT]))
    assert generation.count() == 0
    assert not generation.is_encoded
    assert [fields["text"] for fields in encode(generation, 10).fields] == ["c"]
    assert generation.is_encoded
    assert (store.sequence, store.number) == (4, 6)


def test_a_write_with_all_vectors_leaves_nothing_to_encode(store: DocumentStore):
    new = store.add_generation(NEW)
    assert new.is_encoded
    write(store, a_document(1, "a"), a_document(2, "b"))
    assert (store.generations[OLD].is_encoded, new.is_encoded) == (True, False)
    encode(new, 1)
    assert not new.is_encoded
    encode(new, 2)
    assert new.is_encoded
    store.delete(["d0001"])
    assert (store.generations[OLD].is_encoded, new.is_encoded) == (True, True)
    store.write([a_document(3), a_document(4)], [UNIT, None], OLD)
    assert not store.generations[OLD].is_encoded


def test_generations_outlive_the_process(tmp_path: Path, store: DocumentStore):
    write(store, a_document(1, "a"), a_document(2, "b"))
    store.add_generation(NEW)
    encode(store.generations[NEW], 1)
    store.lead(NEW)
    store.close()
    again = DocumentStore.open(tmp_path)
    assert list(again.generations) == [OLD, NEW]
    assert again.leading is again.generations[NEW]
    assert (again.sequence, again.number, again.generations[NEW].count()) == (2, 3, 1)
    assert (again.generations[OLD].is_encoded, again.leading.is_encoded) == (True, False)
    (bare,) = again.leading.unencoded(10).fields
    assert bare["text"] == "b"
    encode(again.leading, 10)
    read = again.get(["d0002"], include_vectors=True)[0].vector
    assert np.allclose(read, vector_of("b", NEW))
    again.close()


def test_a_dropped_generation_leaves_nothing_and_its_number_is_not_given_again(
    tmp_path: Path, store: DocumentStore
):
    write(store, a_document(1, "a"))
    first = store.add_generation(NEW)
    assert store.add_generation(NEW) is first
    encode(first, 10)
    store.drop_generation(NEW)
    store.drop_generation(NEW)
    assert list(store.generations) == [OLD]
    assert store.add_generation(NEW).generation > first.generation
    assert store.generations[NEW].count() == 0
    store.drop_generation(NEW)
    store.write([a_document(1, "b")], [np.zeros(3, np.float32)], NEW)
    assert store.check_integrity() == []
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    assert {name for name in names if name.startswith("vectors")} == {"vectors_1"}


def test_a_drop_that_is_broken_off_leaves_a_generation_to_go_on_with(
    tmp_path: Path, store: DocumentStore, monkeypatch
):
    monkeypatch.setattr(generations_module, "EMPTY_CHUNK_DOCUMENTS", 4)
    write(store, *(a_document(n, f"v{n}") for n in range(11)))
    encode(store.add_generation(NEW), 100)
    drop, calls = statements.drop_vectors, []

    def fail_at_third(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise sqlite3.OperationalError("made to fail")
        return drop(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(statements, "drop_vectors", fail_at_third)
        with pytest.raises(StorageError, match="made to fail"):
            store.drop_generation(NEW)
    generation = store.add_generation(NEW)
    assert (generation.count(), generation.is_encoded) == (3, False)
    assert store.check_integrity() == []
    store.close()
    again = DocumentStore.open(tmp_path)
    generation = again.generations[NEW]
    assert (generation.count(), generation.is_encoded) == (3, False)
    assert len(encode(generation, 100).versions) == 8
    assert replayed(generation, 3) == truth(again, generation)
    again.drop_generation(NEW)
    assert again.check_integrity() == []
    again.close()


def test_a_collection_without_a_bi_encoder_gets_one(tmp_path: Path):
    store = DocumentStore.create(tmp_path, HEADER)
    store.write([a_document(1, "a")], [None], None)
    assert store.leading is None
    store.add_generation(OLD)
    store.lead(OLD)
    assert not store.generations[OLD].is_encoded
    encode(store.generations[OLD], 5)
    assert store.get(["d0001"], include_vectors=True)[0].vector is not None
    store.close()


# What version 0.1 made, as it was in its sidecar/storage/tables.py.
FORMAT_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
  ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
  doc_id TEXT NOT NULL UNIQUE,
  sequence INTEGER NOT NULL UNIQUE,
  fields TEXT NOT NULL,
  attributes TEXT NOT NULL
);
CREATE TABLE vectors (ordinal INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE attribute_values (
  name TEXT NOT NULL,
  value NOT NULL,
  ordinal INTEGER NOT NULL,
  PRIMARY KEY (name, value, ordinal)
) WITHOUT ROWID;
CREATE INDEX attribute_values_by_ordinal ON attribute_values (ordinal);
CREATE TABLE tombstones (sequence INTEGER PRIMARY KEY, ordinal INTEGER NOT NULL);
INSERT INTO meta VALUES ('collection_id', 'id-1'), ('name', 'things'), ('sequence', 9),
  ('schema', '{"text_fields": [["title", "english"], ["text", "english"]], "attributes": []}'),
  ('pruned_sequence', 3);
INSERT INTO documents VALUES (1, 'a', 4, '{"text":"a"}', '{}'), (2, 'b', 9, '{"text":"b"}', '{}'),
  (5, 'c', 6, '{"text":"c"}', '{}');
INSERT INTO tombstones VALUES (7, 3), (8, 4);
PRAGMA application_id = 1397310533;
PRAGMA user_version = 1;
"""


def old_database(folder: Path, bi_encoder: str) -> None:
    with sqlite3.connect(folder / FILE_NAME) as connection:
        connection.executescript(FORMAT_1)
        connection.execute("INSERT INTO meta VALUES ('bi_encoder', ?)", (bi_encoder,))
        if bi_encoder != "null":
            blobs = [(o, vector_of(t, OLD).tobytes()) for o, t in ((1, "a"), (2, "b"))]
            connection.executemany("INSERT INTO vectors VALUES (?, ?)", blobs)
    connection.close()


def test_format_1_is_brought_to_this_one(tmp_path: Path):
    old_database(tmp_path, '{"name": "m", "revision": "r1", "dimensions": 4}')
    for _ in range(2):
        store = DocumentStore.open(tmp_path)
        assert store.leading is not None
        assert (store.leading.bi_encoder, store.leading.generation) == (OLD, 1)
        assert (store.sequence, store.number, store.count, store.pruned_sequence()) == (9, 9, 3, 3)
        assert replayed(store.leading, 1) == truth(store, store.leading)
        changes = store.leading.changes(5, 10)
        assert changes.ordinals.tolist() == [2]
        assert sorted(changes.forget) == [2, 3, 4, 5]
        assert [fields["text"] for fields in store.leading.unencoded(5).fields] == ["c"]
        assert store.check_integrity() == []
        store.close()


def test_format_1_without_a_bi_encoder(tmp_path: Path):
    old_database(tmp_path, "null")
    store = DocumentStore.open(tmp_path)
    assert (store.leading, store.generations) == (None, {})
    store.add_generation(OLD)
    assert len(encode(store.generations[OLD], 10).versions) == 3
    assert store.check_integrity() == []
    store.close()


def test_a_migration_that_is_broken_off_leaves_format_1(tmp_path: Path, monkeypatch):
    old_database(tmp_path, '{"name": "m", "revision": "r1", "dimensions": 4}')

    def broken_off(connection: sqlite3.Connection) -> None:
        tables.migrate(connection)
        raise sqlite3.OperationalError("made to fail")

    with monkeypatch.context() as patched:
        patched.setattr(documents_module, "migrate", broken_off)
        with pytest.raises(StorageError, match="made to fail"):
            DocumentStore.open(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (2,)
    connection.close()
    again = DocumentStore.open(tmp_path)
    assert again.leading is not None
    assert again.leading.count() == 2
    again.close()


def test_identities_are_told_apart_by_everything(store: DocumentStore):
    for field, value in (("name", "n"), ("revision", "r9"), ("dimensions", 8)):
        other = dataclasses.replace(OLD, **{field: value})
        assert store.add_generation(other).generation != 1
    assert len(store.generations) == 4
    assert str(OLD) == "m at revision r1"
