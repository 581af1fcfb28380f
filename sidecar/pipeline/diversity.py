"""Variety among the first hits: maximal marginal relevance, as pure functions.

Carbonell, Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and
Producing Summaries" (SIGIR 1998). Scores of the stages are not comparable, so relevance is the rank
within the window, from 1 for the first hit evenly down to 0 for the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sidecar.pipeline.ordering import ranked
from sidecar.types import Diversity, Hit

Floats = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float32]


def diversified(
    hits: Sequence[Hit], vectors: Mapping[str, Vector], diversity: Diversity
) -> tuple[Hit, ...]:
    """The first `window` hits by maximal marginal relevance, then the rest as it was.

    `vectors`: unit vectors (dimensions,) by doc_id. A hit without one is similar to none; if none
    has one, the order stays.
    """
    head = hits[: diversity.window]
    present = [vectors[hit.doc_id] for hit in head if hit.doc_id in vectors]
    if not present:
        return tuple(hits)
    nothing = np.zeros_like(present[0])
    rows = np.stack([vectors.get(hit.doc_id, nothing) for hit in head]).astype(np.float64)
    order = marginal_order(rows @ rows.T, diversity.relevance)
    return ranked([*(head[index] for index in order), *hits[len(head) :]])


def marginal_order(similarities: Floats, relevance: float) -> list[int]:
    """The order by maximal marginal relevance of candidates whose relevance falls with their index.

    `similarities` is (candidates, candidates). Each next one has the greatest
    relevance * r - (1 - relevance) * s: r is 1 for index 0 and evenly down to 0 for the last, s the
    greatest similarity with one chosen before, 0 for the first. Ties by index.
    """
    count = len(similarities)
    worth = relevance * np.linspace(1.0, 0.0, count)
    nearest = np.zeros(count)
    is_left = np.ones(count, dtype=bool)
    order: list[int] = []
    for _ in range(count):
        marginal = np.where(is_left, worth - (1.0 - relevance) * nearest, -np.inf)
        chosen = int(marginal.argmax())
        nearest = np.maximum(nearest, similarities[chosen]) if order else similarities[chosen]
        is_left[chosen] = False
        order.append(chosen)
    return order
