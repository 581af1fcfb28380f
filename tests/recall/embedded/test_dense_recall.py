"""R@100 of the default index against an exact scan, on clustered vectors of a fixed seed."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.config import DenseIndexConfig
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.recall.embedded.dense_lists import ListsIndex
from sidecar.recall.embedded.dense_reach import Reach, reach_of
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
def index() -> DenseIndex:
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
    return index


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
    """Where the nearest are spread over 20 of 64 lists, each search of fewer finds its share."""

    def search(vector: np.ndarray, depth: int, lists: int) -> np.ndarray:
        return np.arange(depth)[: depth * min(lists, 20) // 20]

    sample = np.zeros((5, 3), np.float32)
    (hundred, thousand) = reach_of(search, sample, 64, 10_000).points
    assert hundred[0] == 100
    assert 20 <= hundred[1] <= 29
    assert thousand == (1000, hundred[1])
    assert reach_of(search, sample[:0], 64, 0).lists(100) == 64
