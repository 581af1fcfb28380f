"""Maximal marginal relevance against the definition, looked up anew for every next hit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.pipeline.diversity import diversified, marginal_order
from sidecar.types import Diversity, Hit, Stage

seeds = st.integers(0, 2**32 - 1)
shares = st.floats(0, 1)


def hits_of(count: int) -> tuple[Hit, ...]:
    return tuple(Hit(f"d{n}", n + 1, Stage.FUSED, 1.0 / (n + 1)) for n in range(count))


def vectors_of(count: int, seed: int, without: set[int]) -> dict[str, np.ndarray]:
    """Few different directions, so that some hits are as good as the same."""
    source = np.random.default_rng(seed)
    rows = source.normal(size=(count, 4)) + 3 * source.normal(size=(3, 4))[np.arange(count) % 3]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return {f"d{n}": rows[n].astype(np.float32) for n in range(count) if n not in without}


def marginal(hit: str, chosen: list[str], ids: list[str], vectors, relevance: float) -> float:
    """The value by which the next hit is chosen, as search.proto writes it."""
    r = 1.0 - ids.index(hit) / max(len(ids) - 1, 1)
    similarities = [
        float(vectors[hit].astype(float) @ vectors[one].astype(float))
        if hit in vectors and one in vectors
        else 0.0
        for one in chosen
    ]
    return relevance * r - (1.0 - relevance) * max(similarities, default=0.0)


@given(st.integers(0, 25), st.integers(2, 30), shares, seeds, st.sets(st.integers(0, 25)))
def test_each_next_hit_has_the_greatest_marginal_relevance(count, window, relevance, seed, without):
    hits, vectors = hits_of(count), vectors_of(count, seed, without)
    found = [hit.doc_id for hit in diversified(hits, vectors, Diversity(relevance, window))]
    ids = [hit.doc_id for hit in hits]
    assert found[window:] == ids[window:]
    head = ids[:window]
    assert sorted(found[:window]) == sorted(head)
    for place, taken in enumerate(found[:window]):
        before = found[:place]
        best = max(
            marginal(one, before, head, vectors, relevance) for one in found[place : len(head)]
        )
        value = marginal(taken, before, head, vectors, relevance)
        assert value == pytest.approx(best, abs=1e-9)


@given(st.integers(1, 20), seeds)
def test_relevance_alone_is_the_order_as_it_was(count, seed):
    hits = hits_of(count)
    found = diversified(hits, vectors_of(count, seed, set()), Diversity(1.0, 200))
    assert found == hits


def test_one_that_is_like_the_first_makes_way_for_another():
    same, other = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    vectors = {"d0": same, "d1": same, "d2": other}
    found = diversified(hits_of(3), vectors, Diversity(0.5))
    assert [hit.doc_id for hit in found] == ["d0", "d2", "d1"]
    assert [hit.rank for hit in found] == [1, 2, 3]


def test_ties_keep_their_order():
    assert marginal_order(np.ones((5, 5)), 0.0) == [0, 1, 2, 3, 4]


def test_without_vectors_the_order_stays():
    hits = hits_of(5)
    assert diversified(hits, {}, Diversity(0.0)) == hits
    assert diversified((), {}, Diversity(0.0)) == ()
