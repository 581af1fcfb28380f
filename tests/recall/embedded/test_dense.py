"""Every kind of dense index against a scan in numpy."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from dense_indexes import (
    DIMENSIONS,
    EXACT,
    KINDS,
    MODEL,
    NOTHING,
    brute,
    config,
    put,
    settle,
    units,
)

import sidecar.recall.embedded.dense_graph as dense_graph
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.storage.stored_generations import VectorChanges


@pytest.mark.parametrize("filled", KINDS, indirect=True)
def test_against_a_scan(filled):
    index, held, rng = filled
    assert index.count == len(held)
    assert index.ordinals().tolist() == sorted(held)
    recalls = []
    for query in units(rng, 30):
        wanted = brute(held, query, 10)
        found = index.search(query, 10, None)
        assert len(found) == 10
        scores = dict(found)
        assert all(abs(held[o] @ query - scores[o]) < 2e-3 for o in scores)
        assert [s for _, s in found] == sorted(scores.values(), reverse=True)
        recalls.append(len({o for o, _ in wanted} & set(scores)) / 10)
    least = {"flat": 0.99, "fp16": 0.99, "auto": 0.97, "ivf": 0.8, "hnsw": 0.95}
    assert np.mean(recalls) >= least[index._config.kind]


@pytest.mark.parametrize("filled", KINDS, indirect=True)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_filtered_against_a_scan(filled, share: float):
    index, held, rng = filled
    for query in units(rng, 10):
        allowed = np.array(sorted(o for o in [*held, 1, 7777] if rng.random() < share), np.int64)
        wanted = brute(held, query, 10, allowed)
        found = index.search(query, 10, allowed)
        assert {o for o, _ in found} <= set(allowed.tolist())
        # However few of the neighbours pass, the leg is as deep as it can be.
        assert len(found) >= min(10, len(wanted))
        if index.form in EXACT or len(allowed) <= 40:
            assert [s for _, s in found] == pytest.approx([s for _, s in wanted], abs=2e-3)


@pytest.mark.parametrize("filled", KINDS, indirect=True)
def test_more_asked_for_than_there_is(filled):
    index, held, rng = filled
    (query,) = units(rng, 1)
    assert {o for o, _ in index.search(query, 10_000, None)} == set(held)
    assert index.search(query, 10, NOTHING) == []
    assert index.search(query, 10, np.array([1, 7777])) == []
    assert [o for o, _ in index.search(query, 10, np.array([1, 6]))] == [6]


@pytest.mark.parametrize("kind", KINDS)
def test_empty(kind: str):
    index = DenseIndex.empty(MODEL, config(kind))
    query = units(np.random.default_rng(1), 1)[0]
    assert index.search(query, 5, None) == []
    assert index.search(query, 5, np.array([1])) == []
    put(index, {}, [], np.empty((0, DIMENSIONS), np.float32), forget=[1])
    assert index.count == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_ordinal_is_never_held_twice(kind: str):
    rng = np.random.default_rng(2)
    index = DenseIndex.empty(MODEL, config(kind))
    for _ in range(3):
        put(index, {}, [1, 2, 3], units(rng, 3))
    assert index.ordinals().tolist() == [1, 2, 3]
    assert index.count == 3


@pytest.mark.parametrize("kind", ["auto", "ivf", "hnsw"])
def test_there_is_a_scan_until_there_is_a_better_index(kind: str, monkeypatch):
    monkeypatch.setattr(dense_graph, "CHANGED_LEAST", 300)
    rng = np.random.default_rng(4)
    index, held = DenseIndex.empty(MODEL, config(kind)), {}
    put(index, held, list(range(100)), units(rng, 100))
    settle(index)
    (query,) = units(rng, 1)
    exact = [ordinal for ordinal, _ in brute(held, query, 100)]
    assert index.form == ("graph" if kind == "hnsw" else "fp16")
    assert [ordinal for ordinal, _ in index.search(query, 100, None)] == exact
    put(index, held, list(range(100, 400)), units(rng, 300))
    settle(index)
    assert index.form == ("graph" if kind == "hnsw" else "lists")
    if kind == "hnsw":
        assert index._vectors.recent.count == 0
    assert index.count == 400
    assert index.ordinals().tolist() == list(range(400))


def test_few_that_are_left_are_scanned_again():
    rng = np.random.default_rng(4)
    index, held = DenseIndex.empty(MODEL, config("auto")), {}
    put(index, held, list(range(400)), units(rng, 400))
    settle(index)
    put(index, held, [], units(rng, 0), forget=list(range(10, 400)))
    settle(index)
    assert index.form == "fp16"
    assert index._vectors.rows.dead_count == 0
    assert index.ordinals().tolist() == list(range(10))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_hidden_is_not_found_and_does_not_come_back(kind: str):
    rng = np.random.default_rng(4)
    index, held = DenseIndex.empty(MODEL, config(kind)), {}
    put(index, held, list(range(400)), units(rng, 400))
    settle(index)
    index.hide([3, 3, 4, 999_999], index.watermark + 1)
    index.hide([5], index.watermark)  # of a write that the index already has
    assert index.ordinals().tolist() == [0, 1, 2, *range(5, 400)]
    assert len(index.search(held[3], 400, None)) == 398
    put(index, held, [3], units(rng, 1), forget=[4])
    assert index.ordinals().tolist() == [0, 1, 2, 3, *range(5, 400)]


@pytest.mark.parametrize("kind", KINDS)
def test_changes_read_before_a_deletion_do_not_bring_it_back(kind: str):
    rng = np.random.default_rng(4)
    index, held = DenseIndex.empty(MODEL, config(kind)), {}
    put(index, held, list(range(400)), units(rng, 400))
    settle(index)
    read = VectorChanges(index.watermark + 3, np.array([7, 8, 500]), units(rng, 3), [])
    index.hide([8, 9, 500], read.upto + 2)
    index.hide([10], read.upto - 1)  # which these changes know of
    index.apply(read, MODEL)
    wanted = [*range(8), *range(11, 400)]
    assert index.ordinals().tolist() == wanted
    assert sorted(o for o, _ in index.search(held[8], 400, None)) == wanted
    # What is written later under the same ordinal is found.
    index.apply(VectorChanges(read.upto + 4, np.array([8, 10]), units(rng, 2), [9, 500]), MODEL)
    assert index.ordinals().tolist() == [*range(9), *range(10, 400)]
    assert len(index._deletions) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_searches_run_beside_changes(kind: str, monkeypatch):
    monkeypatch.setattr(dense_graph, "CHANGED_LEAST", 100)
    monkeypatch.setattr("sidecar.recall.embedded.dense_kinds.DEAD_LEAST", 50)
    rng = np.random.default_rng(8)
    index = DenseIndex.empty(MODEL, config(kind))
    put(index, {}, list(range(400)), units(rng, 400))
    stop, failures = threading.Event(), []

    def search() -> None:
        queries = units(np.random.default_rng(9), 50)
        while not stop.is_set():
            for query in queries:
                found = index.search(query, 10, None)
                if len(found) != 10 or len({o for o, _ in found}) != 10:
                    failures.append(found)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for round_number in range(20):
        start = 10 * round_number
        put(index, {}, list(range(start, start + 20)), units(rng, 20), forget=[start + 300])
        index.settle()
    stop.set()
    for thread in threads:
        thread.join()
    index.close()
    assert failures == []
    assert index._building.failure == ""
