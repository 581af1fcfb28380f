"""R@100 of the default index against an exact scan, on clustered vectors of a fixed seed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest

from sidecar.config import DenseIndexConfig
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.recall.embedded.dense_lists import ListsIndex
from sidecar.recall.embedded.dense_reach import TARGET_RECALL, Reach, reach_of
from sidecar.recall.embedded.dense_tuning import FEWEST, MOST
from sidecar.storage.stored_generations import BiEncoderIdentity, VectorChanges

DIMENSIONS, LATENT, CLUSTERS = 64, 24, 200
COUNT = 30_000
MODEL = BiEncoderIdentity("m", "r1", DIMENSIONS)
CONFIG = DenseIndexConfig(exact_vectors=5_000)


class Clusters:
    """Vectors of clusters of unequal size that overlap, in fewer dimensions than they have."""

    def __init__(self) -> None:
        rng = np.random.default_rng(17)
        self._centres = rng.normal(size=(CLUSTERS, LATENT))
        self._shares = 1 / np.arange(1, CLUSTERS + 1) ** 0.7
        self._spread = rng.normal(size=(LATENT, DIMENSIONS)) / np.sqrt(LATENT)

    def vectors(self, seed: int, count: int, noise: float = 0.15) -> np.ndarray:
        rng = np.random.default_rng(seed)
        chosen = rng.choice(CLUSTERS, count, p=self._shares / self._shares.sum())
        latent = self._centres[chosen] + 0.7 * rng.normal(size=(count, LATENT))
        vectors = latent @ self._spread + noise * rng.normal(size=(count, DIMENSIONS))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


CLUSTERED = Clusters()
VECTORS = CLUSTERED.vectors(1, COUNT)
QUERIES = CLUSTERED.vectors(2, 100)


@pytest.fixture(scope="module")
def index() -> Iterator[DenseIndex]:
    """Grown to six times what its lists were made for, a tenth of it replaced or deleted."""
    index = DenseIndex.empty(MODEL, CONFIG)
    for first in range(0, COUNT, 5_000):
        ordinals = np.arange(first, first + 5_000)
        index.apply(VectorChanges(first + 5_000, ordinals, VECTORS[ordinals], []), MODEL)
        index.settle()
        index.wait_built()
    replaced = np.arange(0, COUNT, 10)
    changes = VectorChanges(COUNT + 1, replaced, VECTORS[replaced], list(range(5, COUNT, 100)))
    index.apply(changes, MODEL)
    assert isinstance(index._vectors, ListsIndex)
    assert index._vectors.rows.dead_count > 0.09 * COUNT
    yield index
    index.close()


def recall(index: DenseIndex, queries: np.ndarray, allowed: np.ndarray | None) -> float:
    held = index.ordinals() if allowed is None else np.intersect1d(allowed, index.ordinals())
    exact = np.argsort(-(queries @ VECTORS[held].T), axis=1, kind="stable")[:, :100]
    shares = []
    for query, nearest in zip(queries, held[exact], strict=True):
        found = [ordinal for ordinal, _ in index.search(query, 100, allowed)]
        assert len(found) == min(100, len(held))
        shares.append(len(np.intersect1d(found, nearest)) / len(nearest))
    return float(np.mean(shares))


def test_without_a_filter(index: DenseIndex):
    assert recall(index, QUERIES, None) >= 0.99
    assert index._vectors._reach.lists(100) < index._vectors.list_count / 3


def test_of_queries_that_lie_less_well_than_documents(index: DenseIndex):
    assert recall(index, CLUSTERED.vectors(3, 100, noise=0.4), None) >= 0.98


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("scanned", [0, 20_000])
def test_with_a_filter(index: DenseIndex, share: float, scanned: int, monkeypatch):
    monkeypatch.setattr("sidecar.recall.embedded.dense_lists.SCAN_ORDINALS", scanned)
    rng = np.random.default_rng(4)
    allowed = np.flatnonzero(rng.random(COUNT + 500) < share)
    assert recall(index, QUERIES[:40], allowed) >= 0.99


def test_with_a_filter_that_leaves_what_is_far_away(index: DenseIndex, monkeypatch):
    monkeypatch.setattr("sidecar.recall.embedded.dense_lists.SCAN_ORDINALS", 0)
    query = QUERIES[:1]
    far = np.sort(np.argsort(query[0] @ VECTORS.T)[: COUNT // 3])
    assert recall(index, query, far) >= 0.99


def test_the_number_of_lists_follows_a_power_of_the_depth():
    reach = Reach(((100, 10), (1000, 40)))
    assert [reach.lists(depth) for depth in (1, 100, 1000, 10_000)] == [10, 10, 40, 160]
    assert reach.lists(300) in range(19, 22)
    assert Reach(((1, 7),)).lists(5_000) == 7
    assert Reach.of(reach.about()) == reach


def test_as_many_lists_are_read_as_find_the_nearest():
    """The hundred nearest are spread over 20 of 64 lists, the thousand over 50."""
    places = np.concatenate([np.arange(100) % 20, np.arange(900) % 50])
    assert reach_of(np.array([places] * 3), 64, 1.0).points == ((100, 20), (1000, 50))
    assert reach_of(np.array([places] * 3), 64, 0.5).points == ((100, 10), (1000, 23))
    assert reach_of(np.array([places[:100]] * 3), 64, 0.91).points == ((100, 19),)
    assert reach_of(np.array([places[:7]]), 64, 1.0).points == ((7, 7),)
    assert reach_of(np.zeros((0, 0), np.int64), 64, 0.9).lists(100) == 64


def test_the_places_of_lists_are_those_in_which_a_search_reads_them(index: DenseIndex):
    """Against searches of so many lists: each finds what lies within them, and no more."""
    vectors = index._vectors
    assert isinstance(vectors, ListsIndex)
    query = QUERIES[:1]
    places = vectors._places(query, 100, contextlib.nullcontext)
    held = index.ordinals()
    scores = query[0] @ vectors.vectors(held).T
    nearest = set(held[np.argsort(-scores)[:100]].tolist())
    for lists in (1, 5, 20, vectors.list_count):
        found = vectors._probed(query, 100, vectors.rows.living_selector(), lists)[1]
        assert len(nearest & set(found.tolist())) == (places < lists).sum()


def test_lists_are_read_as_the_queries_need_it_that_were_searched_for(index: DenseIndex):
    """Against all scores in numpy; of others like them as many are found."""
    assert isinstance(index._vectors, ListsIndex)
    assert index._tuning is not None
    far = CLUSTERED.vectors(5, MOST + 100, noise=0.6)
    for query in far[: MOST - 1]:
        index.search(query, 100, None)
    index._tuning.wait(60.0)
    index._tuning.restart()
    index.search(far[MOST - 1], 100, None)
    index._tuning.wait(60.0)
    held = index.ordinals()
    compared, centroids = index._vectors.vectors(held), index._vectors._centroids
    lists = np.argmax(compared @ centroids.T, axis=1)
    nearest = np.argsort(-(far[:MOST] @ compared.T), axis=1)[:, :100]
    order = np.argsort(-(far[:MOST] @ centroids.T), axis=1)
    places = np.take_along_axis(np.argsort(order, axis=1), lists[nearest], axis=1)
    needed = np.quantile(places, TARGET_RECALL, method="inverted_cdf") + 1
    assert index._vectors._reach.lists(100) == pytest.approx(needed, abs=2)
    assert recall(index, far[MOST:], None) >= 0.985
    index._tuning.wait(60.0)


def test_an_index_that_is_closed_is_not_tuned_any_more():
    index = DenseIndex.empty(MODEL, CONFIG)
    index.apply(VectorChanges(6_000, np.arange(6_000), VECTORS[:6_000], []), MODEL)
    index.settle()
    index.wait_built()
    assert index.form == "lists"
    before = index._vectors._reach
    index.close()
    for query in CLUSTERED.vectors(6, 2 * FEWEST):
        index.search(query, 10, None)
    assert index._tuning._thread is None
    assert index._vectors._reach is before
