"""Propensities near a power law: right where free ones are noise, and free where logs are long."""

from __future__ import annotations

import numpy as np
import pytest
from click_logs import FIXED, SWAPPED, WEAK, a_world

from training.clicks.log import click_log
from training.propensity.cells import count_cells
from training.propensity.harvest import InterventionHarvest, interventional_cells
from training.propensity.power import PowerLaw


def log_posterior(power: PowerLaw, clicks: np.ndarray, thetas: np.ndarray, eta: float) -> float:
    """Of AllPairs' clicks (ranks, ranks), by the formula, summed a pair of ranks at a time."""
    ranks = len(thetas)
    value = -((eta / power.exponent_spread) ** 2) / 2
    for k in range(ranks):
        for other in range(k + 1, ranks):
            share = np.exp(thetas[k]) / (np.exp(thetas[k]) + np.exp(thetas[other]))
            value += clicks[k, other] * np.log(share) + clicks[other, k] * np.log(1 - share)
    steps = np.diff(thetas + eta * np.log(np.arange(1, ranks + 1)))
    return float(value - np.sum((steps / power.step_spread) ** 2) / 2)


def test_the_mode_is_where_no_step_leads_higher() -> None:
    log, power = a_world("dcm", SWAPPED, sessions=3000, queries=50).log, PowerLaw()
    cells = interventional_cells(count_cells(log))
    clicks = np.zeros((10, 10))
    above, below = np.split(np.arange(len(cells.pairs)), 2)
    clicks[cells.ranks[above], cells.ranks[below]] = cells.clicks[above]
    clicks[cells.ranks[below], cells.ranks[above]] = cells.clicks[below]
    thetas = np.log(power.propensities(log))
    at = [log_posterior(power, clicks, thetas, eta) for eta in np.linspace(-1, 3, 4001)]
    eta = float(np.linspace(-1, 3, 4001)[int(np.argmax(at))])
    source = np.random.default_rng(1)
    for _ in range(200):
        moved = thetas + np.r_[0.0, source.normal(0, 0.05, 9)]
        assert log_posterior(power, clicks, moved, eta) < max(at)


def test_rare_swaps_suffice() -> None:
    """400 swaps in 20 thousand impressions: .1 off in the mean, and less than free figures."""
    off, free = [], []
    for seed in range(5):
        world = a_world("pbm", SWAPPED, queries=100, seed=seed)
        off.append(np.abs(PowerLaw().propensities(world.log) - world.propensities).mean())
        other = InterventionHarvest().propensities(world.log)
        free.append(np.abs(other - world.propensities).mean())
    assert np.mean(off) < 0.1
    assert np.mean(off) < 0.7 * np.mean(free)


@pytest.mark.parametrize("clicks", ["pbm", "dcm"])
def test_long_logs_overrule_the_prior(clicks: str) -> None:
    world = a_world(clicks, WEAK)
    found = PowerLaw().propensities(world.log)
    assert np.abs(found - world.propensities).max() < 0.05
    assert np.abs(found - InterventionHarvest().propensities(world.log)).max() < 0.05


def test_nothing_moved_tells_nothing() -> None:
    model = PowerLaw().fit(a_world("pbm", FIXED, sessions=500, queries=10).log)
    assert model.propensities[0] == 1.0
    assert np.isnan(model.propensities[1:]).all()


def test_without_clicks_there_is_no_correction() -> None:
    documents = np.array([[0, 1], [1, 0]])
    found = PowerLaw().propensities(click_log(np.zeros(2), documents))
    assert found == pytest.approx([1.0, 1.0])
    assert PowerLaw().propensities(click_log(np.zeros(1), np.zeros((1, 1)))).tolist() == [1.0]
