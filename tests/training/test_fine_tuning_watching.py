"""Which look at dev lists it is whose weights stay."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

from transformers import TrainerState

from training.fine_tuning.arguments import Schedule
from training.fine_tuning.fit import _least_share
from training.fine_tuning.measuring import is_surely_worse
from training.fine_tuning.watching import LOOK, STANDING, Counted, is_over


def values(mean: float, seed: int, lists: int = 100) -> list[float]:
    """Of lists that are as hard for every model; the mean is that."""
    hard = np.random.default_rng(0).uniform(size=lists)
    own = np.random.default_rng(seed).normal(scale=0.1, size=lists)
    return (hard + own - (hard + own).mean() + mean).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_surely_worse_is_by_the_error_of_the_paired_difference(seed: int) -> None:
    one, other = values(0.70, seed), values(0.70 + 0.01 * math.sin(seed), 100 + seed)
    changes = [a - b for a, b in zip(one, other, strict=True)]
    error = statistics.stdev(changes) / math.sqrt(len(changes))
    assert is_surely_worse(one, other) == (statistics.mean(changes) <= -error)
    assert is_surely_worse(one, one)  # no different at all: nothing was learnt
    assert is_surely_worse([0.4], [0.5])
    assert not is_surely_worse([0.5], [0.4])


def test_the_last_look_stays_that_none_before_is_surely_better_than() -> None:
    counted, looks = Counted(), [0.700, 0.705, 0.702, 0.600, 0.703, 0.500]
    standings = [counted.standing(values(mean, seed)) for seed, mean in enumerate(looks)]
    assert int(np.argmax(standings)) == 4
    assert standings == sorted({1.0, 2.0, 3.0, 4.0} | {2.5, 3.5}, key=standings.index)
    assert counted.best == values(0.705, 1)


def test_looks_that_fall_a_little_each_time_do_not_slide_down() -> None:
    counted = Counted()
    standings = [counted.standing(values(0.7 - 0.004 * n, n)) for n in range(20)]
    assert 1 <= int(np.argmax(standings)) <= 5  # .02 below the first; the error is some .014


def test_patience_counts_looks_that_are_surely_worse() -> None:
    state, schedule = TrainerState(), Schedule(steps=100, between_looks=10)
    for step, standing in enumerate([1.0, 0.5, 2.0, 1.5, 1.5], start=1):
        state.log_history.append({"step": 10 * step, LOOK: 0.7, STANDING: standing})
    assert not is_over(state, schedule, 3)
    assert is_over(state, schedule, 2)
    assert not is_over(state, schedule, 0)


def test_of_shares_that_cannot_be_told_apart_the_least_is_taken() -> None:
    tried = [(0.0, 0.700), (0.25, 0.704), (0.5, 0.705)]
    by_share = {share: values(mean, number) for number, (share, mean) in enumerate(tried)}
    assert _least_share(tried, by_share) == 0.0
    by_share[0.0] = values(0.600, 0)
    assert _least_share([(0.0, 0.6), *tried[1:]], by_share) == 0.25
