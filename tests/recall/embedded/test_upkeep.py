"""Snapshots and better indexes are made beside writes; one that fails costs only itself."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from fakes import FakeBiEncoder
from recalling import (
    CONFIG,
    WAIT_SECONDS,
    a_collection,
    a_document,
    dense_ids,
    lexical_ids,
    reopened,
    write,
)

import sidecar.recall.embedded.dense_building as dense_building
from sidecar.errors import StorageError
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.embedded.dense import DenseIndex


@pytest.mark.parametrize("failing", ["snapshot", "better index"])
def test_what_failed_is_tried_again_though_nothing_is_written(
    tmp_path: Path, monkeypatch, caplog, failing: str
):
    works = {"snapshot": DenseIndex.save, "better index": dense_building.build}[failing]
    tries: list[int] = []

    def fail_once(*arguments):
        tries.append(1)
        if len(tries) == 1:
            raise StorageError("made to fail")
        works(*arguments)

    monkeypatch.setattr("sidecar.recall.embedded.upkeep.RETRY_SECONDS", 0.5)
    monkeypatch.setattr(dense_building, "RETRY_SECONDS", 0.5)
    if failing == "snapshot":
        monkeypatch.setattr("sidecar.recall.embedded.generation.SAVE_CHANGED_LEAST", 10)
        monkeypatch.setattr(DenseIndex, "save", fail_once)
    else:
        monkeypatch.setattr(dense_building, "build", fail_once)
    collection = a_collection(tmp_path, kind="fp16" if failing == "snapshot" else "ivf")
    write(collection, [a_document(number) for number in range(400)])
    dense = collection._derived.generations.leading.dense

    def is_done() -> bool:
        if failing == "snapshot":
            return len(tries) > 1 and dense.saved_watermark == 400
        return len(tries) > 1 and dense.form == "lists"

    assert collection._derived.wait_until(is_done, 20)
    collection.close()


def test_a_full_disk_at_the_end_costs_only_the_snapshot(tmp_path: Path, monkeypatch, caplog):
    collection = a_collection(tmp_path)
    write(collection, [a_document(1), a_document(2)])

    def fail(*arguments):
        raise StorageError("the disk is full")

    monkeypatch.setattr("sidecar.recall.embedded.dense.write_snapshot", fail)
    collection.close()
    monkeypatch.undo()
    assert "the next start replays" in caplog.text
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    assert dense_ids(again, "common") == ["d0001", "d0002"]
    assert again.verify() == []
    again.close()


@pytest.mark.parametrize("fault", [StorageError("made to fail"), RuntimeError("made to fail")])
def test_whatever_an_index_raises_a_collection_is_closed(tmp_path: Path, monkeypatch, fault):
    def fail(*arguments, **named):
        raise fault

    collection = a_collection(tmp_path)
    write(collection, [a_document(1)])
    with monkeypatch.context() as broken:
        broken.setattr(collection._derived.generations.leading.dense, "save", fail)
        collection.close()
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    with monkeypatch.context() as broken:
        broken.setattr(again._derived.lexical, "close", fail)
        with pytest.raises(type(fault), match="made to fail"):
            again.close()
    again._derived.lexical.close()
    third = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    assert lexical_ids(third, "common") == dense_ids(third, "common") == ["d0001"]
    third.close()


def test_while_writes_do_not_cease_snapshots_and_graphs_are_made(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sidecar.recall.embedded.generation.SAVE_CHANGED_LEAST", 10)
    monkeypatch.setattr("sidecar.recall.embedded.dense_graph.CHANGED_LEAST", 10)
    monkeypatch.setattr("sidecar.recall.embedded.upkeep.BUSY_SECONDS", 0.0)
    monkeypatch.setattr("sidecar.recall.embedded.upkeep.BUSY_REST", 0.0)
    collection = a_collection(tmp_path, kind="hnsw")
    derived, store = collection._derived, collection._store
    apply, dense = derived.lexical.apply, derived.generations.leading.dense
    numbers, done = iter(range(1, 100)), threading.Event()

    def write_while_indexing(changes):
        """There is always one more write than the index has."""
        apply(changes)
        number = next(numbers, None)
        made = dense.saved_watermark and dense._vectors.rows.count and store.pruned_sequence()
        if number is None or made:
            done.set()
        else:
            collection.upsert([a_document(number)])
            if number % 5 == 0:
                collection.delete([f"d{number:04}"])

    monkeypatch.setattr(derived.lexical, "apply", write_while_indexing)
    collection.upsert([a_document(0)])
    assert done.wait(WAIT_SECONDS)
    assert next(numbers, None) is not None
    assert collection.verify() == []
    collection.close()


def test_what_is_written_is_found_while_a_snapshot_is_written(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sidecar.recall.embedded.generation.SAVE_CHANGED_LEAST", 10)
    collection = a_collection(tmp_path)
    dense, reached, go_on = (
        collection._derived.generations.leading.dense,
        threading.Event(),
        threading.Event(),
    )
    save = dense.save

    def save_later(*arguments) -> None:
        reached.set()
        assert go_on.wait(WAIT_SECONDS)
        save(*arguments)

    monkeypatch.setattr(dense, "save", save_later)
    write(collection, [a_document(n) for n in range(20)])
    assert reached.wait(WAIT_SECONDS)
    write(collection, [a_document(50, "late")])
    assert lexical_ids(collection, "late") == ["d0050"]
    assert "d0050" in dense_ids(collection, "late", 100)
    go_on.set()
    again = reopened(collection)
    assert again.stats().dense_count == 21
    assert again.verify() == []
    again.close()


def test_a_snapshot_that_fails_does_not_hold_indexing_back(
    collection: EmbeddedCollection, monkeypatch, caplog
):
    def fail(*arguments):
        raise RuntimeError("made to fail")

    monkeypatch.setattr("sidecar.recall.embedded.generation.SAVE_CHANGED_LEAST", 1)
    dense, tries = collection._derived.generations.leading.dense, []
    monkeypatch.setattr(dense, "save", lambda *arguments: (tries.append(1), fail()))
    for number in range(10):
        write(collection, [a_document(number)])
    assert collection._derived.failure == ""
    assert len(tries) <= 1  # the next one is half a minute later
    assert collection.verify() == []
    monkeypatch.undo()


def test_tombstones_go_once_both_indexes_have_them_on_disk(tmp_path: Path):
    collection = a_collection(tmp_path)
    write(collection, [a_document(n) for n in range(5)])
    collection.delete(["d0000"])
    assert collection.wait_searchable(6, WAIT_SECONDS)
    assert collection._store.pruned_sequence() == 0
    again = reopened(collection)
    assert again._store.pruned_sequence() == 6
    again.close()
