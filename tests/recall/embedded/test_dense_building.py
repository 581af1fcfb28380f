"""A better index is made beside the one that serves: what is written meanwhile, and what fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import sidecar.recall.embedded.dense_building as dense_building
from sidecar.config import DenseIndexConfig
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.recall.embedded.dense_training import ListsSuccessor
from sidecar.storage.stored_generations import BiEncoderIdentity, VectorChanges

DIMENSIONS = 16
MODEL = BiEncoderIdentity("m", "r1", DIMENSIONS)
CONFIG = DenseIndexConfig("auto", exact_vectors=200, ivf_probes=1_000_000)
WAIT_SECONDS = 60.0


def units(rng: np.random.Generator, count: int) -> np.ndarray:
    vectors = rng.normal(size=(count, DIMENSIONS)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def put(index: DenseIndex, ordinals, vectors, forget=()) -> None:
    numbers = np.array(ordinals, np.int64)
    upto = index.watermark + len(ordinals) + len(forget)
    index.apply(VectorChanges(upto, numbers, vectors, list(forget)), MODEL)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def index(rng) -> Iterator[DenseIndex]:
    index = DenseIndex.empty(MODEL, CONFIG)
    put(index, list(range(1, 1001)), units(rng, 1000))
    yield index
    index.close()


class Gate:
    """Holds whoever makes an index when it has copied the first vectors."""

    def __init__(self, monkeypatch) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        add = ListsSuccessor.add

        def add_later(successor, ordinals, vectors) -> None:
            add(successor, ordinals, vectors)
            self.reached.set()
            assert self.open.wait(WAIT_SECONDS)

        monkeypatch.setattr(ListsSuccessor, "add", add_later)
        monkeypatch.setattr(dense_building, "COPIED_AT_ONCE", 300)


@pytest.fixture
def gate(monkeypatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def test_what_is_written_meanwhile_is_found_before_and_after(index: DenseIndex, rng, gate: Gate):
    index.settle()
    assert gate.reached.wait(WAIT_SECONDS)
    again, fresh = units(rng, 1), units(rng, 600)
    put(index, [7], again)  # copied already
    put(index, [900], again)  # not yet
    put(index, list(range(2001, 2601)), fresh)
    put(index, [2001], again, forget=[8, 901, 2600])
    index.hide([9, 902, 2599], index.watermark + 1)
    wanted = [*range(1, 8), *range(10, 901), *range(903, 1001), *range(2001, 2599)]
    before = index.search(again[0], len(wanted), None)
    assert (index.form, index.is_building) == ("fp16", True)
    assert {o for o, _ in before[:3]} == {7, 900, 2001}
    assert sorted(o for o, _ in before) == index.ordinals().tolist() == wanted
    gate.open.set()
    index.wait_built(WAIT_SECONDS)
    assert (index.form, index.is_building) == ("lists", False)
    after = index.search(again[0], len(wanted), None)
    assert sorted(o for o, _ in after) == index.ordinals().tolist() == wanted
    assert [s for _, s in after] == pytest.approx([s for _, s in before], abs=1e-5)
    assert index._noted is None


def test_what_is_written_at_the_very_last_is_found_after(index: DenseIndex, rng, monkeypatch):
    replace, last = index.replace, units(rng, 1)

    def write_before(better) -> None:
        put(index, [5, 5000], np.concatenate([last, last]), forget=[6])
        replace(better)

    monkeypatch.setattr(index, "replace", write_before)
    index.settle()
    index.wait_built(WAIT_SECONDS)
    assert index.form == "lists"
    assert index.ordinals().tolist() == [*range(1, 6), *range(7, 1001), 5000]
    assert {o for o, _ in index.search(last[0], 2, None)} == {5, 5000}


def test_one_that_fails_leaves_the_old_one_and_is_tried_again(
    index: DenseIndex, rng, monkeypatch, caplog
):
    def fail(*arguments: object) -> None:
        raise RuntimeError("made to fail")

    (query,) = units(rng, 1)
    before = index.search(query, 50, None)
    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
        broken.setattr(ListsSuccessor, "finish", fail)
        index.settle()
        index.wait_built(WAIT_SECONDS)
    assert "no better index" in caplog.text
    assert (index.form, index._noted) == ("fp16", None)
    assert index.search(query, 50, None) == before
    index.settle()  # half a minute has not passed
    assert not index._building.is_under_way
    monkeypatch.setattr(index._building, "_again", 0.0)
    index.settle()
    index.wait_built(WAIT_SECONDS)
    assert index.form == "lists"


def test_one_that_is_closed_is_given_up(index: DenseIndex, gate: Gate):
    index.settle()
    assert gate.reached.wait(WAIT_SECONDS)
    closing = threading.Thread(target=index.close)
    closing.start()
    gate.open.set()
    closing.join(WAIT_SECONDS)
    assert not closing.is_alive()
    assert (index.form, index.count) == ("fp16", 1000)
    index.settle()
    assert not index._building.is_under_way


def test_one_is_made_at_a_time(index: DenseIndex, rng, gate: Gate):
    other = DenseIndex.empty(MODEL, CONFIG)
    put(other, list(range(1, 1001)), units(rng, 1000))
    index.settle()
    assert gate.reached.wait(WAIT_SECONDS)
    gate.reached.clear()
    other.settle()
    assert not gate.reached.wait(0.2)
    other.close()  # one that waits for its turn is given up as well
    assert index._building.is_under_way
    gate.open.set()
    index.wait_built(WAIT_SECONDS)
    assert (index.form, other.form) == ("lists", "fp16")


def test_who_waits_for_it_is_told(index: DenseIndex):
    told = threading.Event()
    index.on_built = told.set
    index.settle()
    assert told.wait(WAIT_SECONDS)
    assert index.is_rebuilt


def test_lists_are_trained_anew_once_there_are_four_times_as_many(rng):
    """Until then new vectors go into the lists that there are."""
    index = DenseIndex.empty(MODEL, CONFIG)
    put(index, list(range(1, 1001)), units(rng, 1000))
    index.settle()
    index.wait_built()
    assert (index.form, index._vectors.trained_count) == ("lists", 1000)
    put(index, list(range(1001, 4000)), units(rng, 2999))
    index.settle()
    index.wait_built()
    assert index._vectors.trained_count == 1000
    put(index, [4000], units(rng, 1))
    index.settle()
    index.wait_built()
    assert index._vectors.trained_count == 4000
    index.close()
