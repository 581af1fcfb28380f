"""Every kind of dense index, small: vectors, changes to it and to a dictionary, a scan in numpy."""

from __future__ import annotations

import numpy as np

from sidecar.config import DenseIndexConfig
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.storage.stored_generations import BiEncoderIdentity, VectorChanges

DIMENSIONS = 24
MODEL = BiEncoderIdentity("m", "r1", DIMENSIONS)
KINDS = ["auto", "flat", "fp16", "ivf", "hnsw"]
EXACT = ("fp32", "fp16")
NOTHING = np.empty(0, np.int64)


def config(kind: str) -> DenseIndexConfig:
    """Few vectors are enough for a better index than a scan."""
    lists, probes = (8, 4) if kind == "ivf" else (0, 0)
    return DenseIndexConfig(kind, exact_vectors=300, ivf_lists=lists, ivf_probes=probes)


def settle(index: DenseIndex) -> None:
    """What is due is done."""
    index.settle()
    index.wait_built()
    assert index._building.failure == ""


def units(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random unit vectors, (count, DIMENSIONS) in float32."""
    vectors = rng.normal(size=(count, DIMENSIONS)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def put(index: DenseIndex, held: dict[int, np.ndarray], ordinals, vectors, forget=()) -> None:
    """The same change to the index and to a dictionary."""
    changes = VectorChanges(
        index.watermark + len(ordinals) + len(forget), np.array(ordinals, np.int64), vectors, forget
    )
    index.apply(changes, MODEL)
    for ordinal in forget:
        held.pop(ordinal, None)
    held.update(zip(ordinals, vectors, strict=True))


def brute(held: dict[int, np.ndarray], query: np.ndarray, depth: int, allowed=None):
    """The ordinals of the nearest by a scan, with their scores, best first."""
    ordinals = [o for o in held if allowed is None or o in set(allowed.tolist())]
    scores = {o: float(held[o] @ query) for o in ordinals}
    return sorted(scores.items(), key=lambda entry: -entry[1])[:depth]
