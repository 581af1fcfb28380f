"""Weights are chosen with the sidecar's own combination, on the safe side."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

from training.carried.evaluate import (
    ScoredList,
    best_weight,
    choose_first,
    choose_second,
    rank_first,
    rank_second,
)

# The fused ranking has the relevant document third; both heads know it.
SCORED = ScoredList(
    ("a", "b", "c", "d"),
    np.array([0.4, 0.3, 0.2, 0.1]),
    np.array([0.0, 0.0, 5.0, 0.0]),
    np.array([1.0, 0.0, 2.0, 9.0]),
    {"c": 1},
)


def test_weight_nought_leaves_the_order():
    assert rank_first(SCORED, 0.0, 4)[0] == ["a", "b", "c", "d"]


def test_weight_one_is_the_head_alone_and_the_rest_follows():
    order, combined = rank_first(SCORED, 1.0, 3)
    assert order == ["c", "a", "b", "d"]
    assert combined.shape == (3,)


def test_the_second_stage_reorders_the_head_of_the_first():
    assert rank_second(SCORED, 1.0, 3, 1.0, 2) == ["c", "a", "b", "d"]
    assert rank_second(SCORED, 1.0, 4, 1.0, 4) == ["d", "c", "a", "b"]


def test_a_useful_first_stage_gets_weight_and_a_harmful_second_none():
    first = choose_first({"set": [SCORED]}, 4)
    assert first.weight > 0
    assert first.figures["set"] == pytest.approx((0.5, 1.0))
    assert choose_second({"set": [SCORED]}, first.weight, 4, 4).weight == 0.0


def test_the_smallest_weight_with_nearly_all_of_the_gain():
    gains = {0.0: [0.0, 0.0], 0.2: [0.02, 0.018], 0.4: [0.03, 0.01], 0.6: [0.09, -0.08]}
    assert best_weight(gains) == 0.2


def test_where_nothing_gains_the_earlier_ranking_stands():
    assert best_weight({0.0: [0.0], 0.2: [-0.01], 0.4: [-0.02]}) == 0.0
