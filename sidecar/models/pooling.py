"""Token states -> one vector a text, as sentence-transformers pools them."""

from __future__ import annotations

import numpy as np

from sidecar.models.base import Vectors
from sidecar.models.runtime import Output, Tokens

POOLINGS = ("mean", "cls", "max", "last")


def pool(states: Output, mask: Tokens, pooling: str) -> Vectors:
    """(batch, tokens, hidden) -> (batch, hidden); an output (batch, hidden) is pooled already.

    `mask` is 1 for tokens and 0 for padding, which follows them.
    """
    if states.ndim == 2:
        return states
    vectors: Vectors
    if pooling == "cls":
        vectors = states[:, 0]
    elif pooling == "last":
        vectors = states[np.arange(len(states)), mask.sum(axis=1) - 1]
    elif pooling == "max":
        vectors = np.where(mask[:, :, None] == 1, states, -np.inf).max(axis=1)
    else:
        summed = np.einsum("btd,bt->bd", states, mask.astype(np.float32))
        vectors = (summed / mask.sum(axis=1, keepdims=True)).astype(np.float32)
    return vectors


def normalize(vectors: Vectors) -> Vectors:
    """Rows of length one; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit
