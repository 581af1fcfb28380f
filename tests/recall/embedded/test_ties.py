"""Candidates with equal scores are seen whole, whatever order an index has them in."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.recall.embedded import ties
from sidecar.recall.embedded.ties import search_with_ties


@pytest.mark.parametrize("seed", range(20))
def test_the_last_one_needed_has_all_its_equals(seed: int):
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.integers(0, 4, size=rng.integers(1, 400)))[::-1] / 4
    held = [(int(o), float(s)) for o, s in zip(rng.permutation(len(scores)), scores, strict=True)]
    for needed in (1, 2, 7, len(held), len(held) + 5):
        found = search_with_ties(needed, lambda depth: held[:depth])
        least = held[min(needed, len(held)) - 1][1]
        assert set(found or ()) == {each for each in held if each[1] >= least}


def test_it_goes_no_deeper_than_there_is_a_bound_for(monkeypatch):
    monkeypatch.setattr(ties, "MAX_TIED", 100)
    found = search_with_ties(3, lambda depth: [(n, 1.0) for n in range(depth)])
    assert found is not None
    assert len(found) == 100


def test_a_search_without_an_answer_has_none():
    assert search_with_ties(3, lambda depth: None) is None
    assert search_with_ties(3, lambda depth: []) == []
