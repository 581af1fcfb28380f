"""The likelihoods of click models: by brute force on tiny logs, and never falling under EM."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from click_logs import STRONG, WEAK, Policy, a_world
from hypothesis import given, settings
from hypothesis import strategies as st

from training.clicks.log import ClickLog, click_log
from training.propensity import dcm, pbm
from training.propensity.base import chances_of_relevance, fit_relevances
from training.propensity.cells import count_cells
from training.propensity.em import maximise
from training.propensity.harvest import harvest, interventional_cells


def a_tiny_log() -> ClickLog:
    """Two documents that change places, one query; a third is always last."""
    return click_log(
        np.zeros(5),
        np.array([[0, 1, 2], [0, 1, 2], [1, 0, 2], [1, 0, 2], [0, 1, 2]]),
        clicks=np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0]]),
    )


def test_cells_are_counts_of_pairs_at_ranks() -> None:
    cells = count_cells(a_tiny_log())
    counted = zip(
        cells.pairs.tolist(),
        cells.ranks.tolist(),
        cells.impressions.tolist(),
        cells.clicks.tolist(),
        strict=True,
    )
    assert list(counted) == [(0, 0, 3, 2), (0, 1, 2, 1), (1, 0, 2, 1), (1, 1, 3, 1), (2, 2, 5, 1)]
    several = cells.of_several_ranks()
    assert several.pairs.tolist() == [0, 0, 1, 1]
    assert several.by_rank(several.clicks).tolist() == [3, 2, 0]


def test_weights_count_as_repetitions() -> None:
    log = a_tiny_log()
    twice = count_cells(log.weighted(np.array([2.0, 1, 1, 1, 0])))
    repeated = count_cells(log.select(np.array([0, 0, 1, 2, 3])))
    assert twice.impressions.tolist() == repeated.impressions.tolist()
    assert twice.clicks.tolist() == repeated.clicks.tolist()


def test_pbm_likelihood_is_that_of_every_click() -> None:
    log, examinations = a_tiny_log(), np.array([0.9, 0.5, 0.3])
    relevances = np.array([0.8, 0.4, 0.2])
    expected = 0.0
    for row, rank in itertools.product(range(5), range(3)):
        chance = examinations[rank] * relevances[log.documents[row, rank]]
        expected += math.log(chance if log.clicks[row, rank] else 1 - chance)
    found = pbm.log_likelihood(count_cells(log), examinations, relevances)
    assert found == pytest.approx(expected)


def test_pbm_finds_the_highest_likelihood_there_is() -> None:
    """Two ranks, two documents: against a grid over everything."""
    log = click_log(
        np.zeros(400),
        np.repeat([[0, 1], [1, 0]], 200, axis=0),
        clicks=np.repeat(
            [[1, 1], [1, 0], [0, 1], [0, 0], [1, 1], [1, 0], [0, 1], [0, 0]],
            [40, 80, 20, 60, 50, 30, 60, 60],
            axis=0,
        ),
    )
    cells = count_cells(log)
    propensities, fit = pbm.fit_examinations(cells)
    grid = np.linspace(0.05, 1, 20)
    best = max(
        pbm.log_likelihood(cells, np.array([1.0, p]), np.array([a, b]))
        for p, a, b in itertools.product(grid, repeat=3)
    )
    assert fit.converged
    assert fit.objectives[-1] >= best
    # Four cells, three parameters up to scale: the ratio is that of the clicks, nearly.
    assert propensities[1] == pytest.approx(math.sqrt((60 / 120) * (110 / 80)), abs=0.1)


def test_one_pair_at_two_ranks_gives_the_ratio_of_its_rates() -> None:
    log = click_log(
        np.zeros(300),
        np.repeat([[0, 1], [2, 0]], [100, 200], axis=0),
        clicks=np.repeat([[1, 0], [0, 0], [0, 1], [0, 0]], [60, 40, 48, 152], axis=0),
    )
    assert harvest(count_cells(log))[1] == pytest.approx(0.24 / 0.6, abs=1e-3)
    found, _ = pbm.fit_examinations(count_cells(log).of_several_ranks())
    assert found[1] == pytest.approx(0.24 / 0.6, abs=1e-3)


def test_interventional_sets_by_hand() -> None:
    """Pair 0: rates 2/3 and 1/2 by weight 3 x 2 / 5; pair 1: 1/2 and 1/3 by the same."""
    cells = interventional_cells(count_cells(a_tiny_log()))
    assert cells.impressions.tolist() == pytest.approx([2.4, 2.4])
    assert cells.clicks.tolist() == pytest.approx([1.2 * (2 / 3 + 1 / 2), 1.2 * (1 / 2 + 1 / 3)])
    assert cells.ranks.tolist() == [0, 1]


WORLDS = st.sampled_from([WEAK, STRONG, Policy(2.0, 0.1)])


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["pbm", "trust", "dcm"]), WORLDS, st.integers(0, 50))
def test_no_plain_step_lowers_the_likelihood(clicks: str, policy: Policy, seed: int) -> None:
    log = a_world(clicks, policy, sessions=150, queries=10, seed=seed).log
    cells = count_cells(log)
    start = np.random.default_rng(seed).uniform(0.05, 0.95, 10 + len(cells.pair_ids))
    rises(
        lambda x: pbm._step(cells, x),
        lambda x: pbm.log_likelihood(cells, x[:10], x[10:]),
        start,
    )
    pages = dcm._pages(log)
    rises(
        lambda x: dcm._step(pages, x, 0.3),
        lambda x: dcm.log_posterior(pages, x, 0.3),
        np.random.default_rng(seed).uniform(0.05, 0.95, 10 + len(pages.pair_ids)),
    )


def rises(
    step: Callable[[np.ndarray], np.ndarray],
    objective: Callable[[np.ndarray], float],
    parameters: np.ndarray,
) -> None:
    values = [objective(parameters)]
    for _ in range(15):
        parameters = step(parameters)
        assert (parameters >= 0).all()
        assert (parameters <= 1).all()
        values.append(objective(parameters))
    assert (np.diff(values) >= -1e-8 * abs(values[0])).all()


@pytest.mark.parametrize("policy", [WEAK, STRONG])
def test_long_steps_do_not_lower_it_either(policy: Policy) -> None:
    log = a_world("dcm", policy, sessions=1000, queries=20).log
    for fit in (
        pbm.fit_examinations(count_cells(log).of_several_ranks())[1],
        dcm.fit_dcm(dcm._pages(log))[0],
    ):
        assert fit.converged
        assert (np.diff(fit.objectives) >= 0).all()


def test_long_steps_end_where_plain_ones_do() -> None:
    log = a_world("pbm", WEAK, sessions=3000, queries=10).log
    cells = count_cells(log).of_several_ranks()
    fast = pbm.fit_examinations(cells)[1]
    parameters = pbm._start(cells)
    for _ in range(6000):
        parameters = pbm._step(cells, parameters)
    slow = pbm.log_likelihood(cells, parameters[:10], parameters[10:])
    assert fast.objectives[-1] == pytest.approx(slow, abs=0.02)
    ratios = fast.parameters[:10] / fast.parameters[0], parameters[:10] / parameters[0]
    assert np.abs(ratios[0] - ratios[1]).max() < 0.005


def test_a_step_too_far_is_not_taken() -> None:
    """An objective with its top at .6, and steps that are good near it only."""
    fit = maximise(
        lambda x: x + 0.3 * (0.6 - x), lambda x: -float(np.sum((x - 0.6) ** 2)), np.full(3, 0.01)
    )
    assert (np.diff(fit.objectives) >= 0).all()
    assert fit.parameters == pytest.approx(np.full(3, 0.6), abs=1e-3)


def enumerated(pattern: tuple[bool, ...], r: list[float], going_on: list[float]) -> float:
    """P(pattern of clicks) of the DCM, by following every user: (rank, still looking)."""

    def from_rank(rank: int) -> float:
        if rank == len(r):
            return 1.0
        if not pattern[rank]:
            return (1 - r[rank]) * from_rank(rank + 1)
        stops = 0.0 if any(pattern[rank + 1 :]) else 1.0
        return r[rank] * (going_on[rank] * from_rank(rank + 1) + (1 - going_on[rank]) * stops)

    return from_rank(0)


@pytest.mark.parametrize("pattern", list(itertools.product((False, True), repeat=3)))
def test_dcm_likelihood_by_following_users(pattern: tuple[bool, ...]) -> None:
    r, going_on = [0.7, 0.4, 0.2], [0.8, 0.5, 0.3]
    log = click_log(np.zeros(1), np.array([[0, 1, 2]]), clicks=np.array([pattern]))
    pages = dcm._pages(log)
    prior = dcm._FIT_PRIOR * sum(0.3 * math.log(v) + 0.7 * math.log(1 - v) for v in r)
    found = dcm.log_posterior(pages, np.array(r + going_on), 0.3) - prior
    assert found == pytest.approx(math.log(enumerated(pattern, r, going_on)))


@given(st.lists(st.floats(0.05, 0.95), min_size=6, max_size=6))
def test_dcm_conditional_chances_multiply_to_the_likelihood(values: list[float]) -> None:
    r, going_on = values[:3], values[3:]
    patterns = np.array(list(itertools.product((False, True), repeat=3)))
    log = click_log(np.zeros(8), np.tile([0, 1, 2], (8, 1)), clicks=patterns)
    relevances = dcm.Relevances(np.arange(3), np.array(r), 0.5)
    model = dcm.SequentialModel("dcm", np.array(going_on), relevances, np.ones(3))
    chances = model.conditional_click_probabilities(log)
    products = np.where(patterns, chances, 1 - chances).prod(axis=1)
    expected = [enumerated(tuple(row), r, going_on) for row in patterns.tolist()]
    assert products == pytest.approx(expected)
    totals = (patterns * np.array(expected)[:, None]).sum(axis=0)
    assert model.click_probabilities(log)[0] == pytest.approx(totals)


def test_posterior_of_relevance_is_bayes() -> None:
    hit, missed = chances_of_relevance(np.array([0.3]), np.array([0.5]), np.array([0.2]))
    assert hit[0] == pytest.approx(0.3 * 0.7 / (0.3 * 0.7 + 0.7 * 0.2))
    assert missed[0] == pytest.approx(0.3 * 0.3 / (0.3 * 0.3 + 0.7 * 0.8))


def test_relevances_are_the_most_likely_ones() -> None:
    """Fixed slopes and intercepts: against a grid, pair by pair, prior included."""
    log = a_world("trust", WEAK, sessions=200, queries=3).log
    cells = count_cells(log)
    slopes, intercepts = np.linspace(0.8, 0.2, 10), np.linspace(0.15, 0.01, 10)
    found = fit_relevances(cells, slopes, intercepts, prior=1.0)
    grid = np.linspace(0.0005, 0.9995, 2000)
    for pair in range(len(cells.pair_ids)):
        own = cells.pairs == pair
        click = intercepts[cells.ranks[own], None] + slopes[cells.ranks[own], None] * grid
        clicks, impressions = cells.clicks[own, None], cells.impressions[own, None]
        value = (clicks * np.log(click) + (impressions - clicks) * np.log1p(-click)).sum(axis=0)
        value += found.mean * np.log(grid) + (1 - found.mean) * np.log1p(-grid)
        assert found.values[pair] == pytest.approx(grid[value.argmax()], abs=0.005)
