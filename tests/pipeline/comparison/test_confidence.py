"""Confidence sequences against their definition, and against every path there is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.pipeline.comparison.confidence import (
    ANY,
    NEAR_HALF,
    NEAR_ONE_PERCENT,
    Prior,
    is_ruled_out,
    log_evidence,
    share_interval,
)

PRIORS = (ANY, NEAR_HALF, NEAR_ONE_PERCENT)


def integrated(successes: int, trials: int, share: float, prior: Prior) -> float:
    """M_n(share) as the mean over the prior of the likelihood ratio, by quadrature in the angle,
    where the density of every Beta(a, b) with a, b >= 1/2 is bounded."""
    angles = (np.arange(200_000) + 0.5) / 200_000 * (np.pi / 2)
    other = np.sin(angles) ** 2
    slope = 2 * np.sin(angles) * np.cos(angles)
    density = other ** (prior.a - 1) * (1 - other) ** (prior.b - 1) * slope
    ratio = (other / share) ** successes * ((1 - other) / (1 - share)) ** (trials - successes)
    return float((density * ratio).sum() / density.sum())


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (0, 7), (7, 7), (3, 40), (25, 40)])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9])
def test_the_evidence_is_a_mean_likelihood_ratio(
    prior: Prior, successes: int, trials: int, share: float
) -> None:
    expected = integrated(successes, trials, share, prior)
    assert math.exp(log_evidence(successes, trials, share, prior)) == pytest.approx(expected, 1e-4)


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.001, 0.999), st.sampled_from(PRIORS))
def test_the_evidence_is_a_martingale(
    successes: int, failures: int, share: float, prior: Prior
) -> None:
    trials = successes + failures
    now = log_evidence(successes, trials, share, prior)
    one = log_evidence(successes + 1, trials + 1, share, prior)
    other = log_evidence(successes, trials + 1, share, prior)
    assert share * math.exp(one - now) + (1 - share) * math.exp(other - now) == pytest.approx(1.0)


def chance_of_ever_ruling_out(share: float, trials: int, alpha: float, prior: Prior) -> float:
    """The exact probability that the true share is ruled out at any of the first `trials` looks, by
    following all paths: P(still there after n with s successes)."""
    there, gone = np.array([1.0]), 0.0
    for n in range(1, trials + 1):
        there = np.append(there * (1 - share), 0.0) + np.append(0.0, there * share)
        for successes in range(n + 1):
            likely = there[successes] > 1e-12
            if likely and is_ruled_out(successes, n, share, alpha, prior):
                gone += there[successes]
                there[successes] = 0.0
    return gone


@pytest.mark.parametrize(
    ("share", "alpha", "prior"),
    [(0.5, 0.05, NEAR_HALF), (0.62, 0.05, NEAR_HALF), (0.01, 0.05, NEAR_ONE_PERCENT),
     (0.03, 0.05, ANY)],
)  # fmt: skip
def test_looking_after_each_of_400_trials_misses_no_more_often_than_promised(
    share: float, alpha: float, prior: Prior
) -> None:
    chance = chance_of_ever_ruling_out(share, 400, alpha, prior)
    assert 0.0 < chance <= alpha


def test_looking_once_at_an_interval_made_for_one_look_would_miss_far_more_often() -> None:
    """What the sequence is for: the same paths, with the 95 % interval of the textbooks."""

    def chance() -> float:
        there, gone = np.array([1.0]), 0.0
        for n in range(1, 401):
            there = (np.append(there, 0.0) + np.append(0.0, there)) / 2
            off = np.abs(np.arange(n + 1) - n / 2) > 1.96 * math.sqrt(n) / 2
            gone += there[off].sum()
            there[off] = 0.0
        return float(gone)

    assert chance() > 0.3


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (0, 500), (1, 1), (30, 50), (400, 400)])
def test_the_interval_is_all_shares_that_are_not_ruled_out(
    prior: Prior, successes: int, trials: int
) -> None:
    lower, upper = share_interval(successes, trials, 0.05, prior)
    grid = np.linspace(0.0, 1.0, 20_001)
    admitted = [share for share in grid if not is_ruled_out(successes, trials, share, 0.05, prior)]
    assert lower == pytest.approx(min(admitted), abs=6e-5)
    assert upper == pytest.approx(max(admitted), abs=6e-5)
    assert lower <= successes / trials <= upper


def test_nothing_is_known_without_a_trial() -> None:
    assert share_interval(0, 0, 0.05, ANY) == (0.0, 1.0)


def test_the_interval_narrows_as_the_root_of_the_trials() -> None:
    widths = [
        upper - lower
        for n in (100, 10_000)
        for lower, upper in [share_interval(n // 2, n, 0.05, NEAR_HALF)]
    ]
    assert 7.0 < widths[0] / widths[1] < 10.0
