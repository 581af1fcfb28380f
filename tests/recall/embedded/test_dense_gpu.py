"""Scans on a GPU, with stand-ins for what only faiss-gpu has."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from dense_indexes import DIMENSIONS, MODEL, NOTHING, config, put, units

import sidecar.recall.embedded.dense_gpu as dense_gpu
from sidecar.config import DenseIndexConfig
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.recall.embedded.dense_choice import empty_index


@pytest.mark.parametrize("kind", ["flat", "fp16"])
def test_on_a_gpu_unfiltered_searches_use_the_copy(kind: str, monkeypatch):
    """With stand-ins for what only faiss-gpu has: this machine need not have a GPU."""
    copies = []

    def copy_index(resources, device, index):
        copies.append(faiss.clone_index(index))
        return copies[-1]

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", copy_index, raising=False)
    rng = np.random.default_rng(3)
    index, held = DenseIndex.empty(MODEL, config(kind)), {}
    put(index, held, list(range(3000)), units(rng, 3000))
    (query,) = units(rng, 1)
    before = index.search(query, 10, None)
    index.settle()
    assert len(copies) == 1
    assert index.search(query, 10, None) == before
    gone = np.array([before[0][0]])
    index._vectors.put(gone, NOTHING, np.empty((0, DIMENSIONS), np.float32))
    assert index.search(query, 10, None) == before
    assert before[0] not in index.search(query, 10, np.arange(3000))
    assert len(index.search(query, 2999, None)) == 2999
    put(index, held, [], np.empty((0, DIMENSIONS), np.float32), forget=[before[1][0]])
    assert not set(before[:2]) & set(index.search(query, 10, None))
    off = DenseIndexConfig(kind=kind, gpu="off")
    assert DenseIndex.empty(MODEL, off)._on_gpu is None


class WithGpu:
    """A GPU's index that is in main memory: it tells before each chunk that it is given."""

    def __init__(self, index, before_chunk) -> None:
        self._index, self._before_chunk = index, before_chunk

    def add(self, vectors: np.ndarray) -> None:
        self._before_chunk()
        self._index.add(vectors)

    def __getattr__(self, name: str):
        return getattr(self._index, name)


@pytest.mark.parametrize("change", ["hide", "replace", "hide at last"])
def test_a_copy_on_the_gpu_that_something_changed_under_is_not_used(change: str, monkeypatch):
    rng = np.random.default_rng(3)
    chunks = []

    def before_chunk() -> None:
        chunks.append(1)
        if len(chunks) == (4 if change == "hide at last" else 1):
            if change == "replace":
                index.begin_copy()
                index.replace(empty_index(DIMENSIONS, index._config))
            else:
                index.hide([390], index.watermark + 1)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(
        faiss,
        "index_cpu_to_gpu",
        lambda resources, device, on_cpu: WithGpu(faiss.clone_index(on_cpu), before_chunk),
        raising=False,
    )
    monkeypatch.setattr(dense_gpu, "_CHUNK", 100)
    index, held = DenseIndex.empty(MODEL, config("fp16")), {}
    put(index, held, list(range(400)), units(rng, 400))
    index.settle()
    wanted = 0 if change == "replace" else 399
    (query,) = units(rng, 1)
    assert len(index.search(query, 1000, None)) == wanted
    index.settle()  # of what there is now
    assert index._on_gpu.search(query.reshape(1, -1), 1000) is not None or wanted == 0
    assert sorted(o for o, _ in index.search(query, 1000, None)) == index.ordinals().tolist()
