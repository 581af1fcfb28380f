"""Known examinations are recovered where the log tells them; where it does not, the report says
so, and what it calls identified is right."""

from __future__ import annotations

import numpy as np
import pytest
from click_logs import FIXED, POLICIES, STRONG, WEAK, Policy, a_world, a_world_of_the_simulation

from training.clicks.log import click_log
from training.propensity.base import Estimator
from training.propensity.dcm import CascadeClicks, DependentClicks
from training.propensity.estimators import LEARNT
from training.propensity.harvest import InterventionHarvest
from training.propensity.pbm import PositionBasedEM
from training.propensity.report import identifiability
from training.propensity.trust import AffineTrustBias

WITHIN = 0.05
# What each estimator's clicks are drawn by.
WORLDS = {"harvest": "pbm", "pbm": "pbm", "trust": "trust", "cascade": "cascade", "dcm": "dcm"}


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("name", ["harvest", "pbm", "cascade", "dcm"])
def test_twenty_thousand_sessions_suffice(name: str, policy: str) -> None:
    world = a_world(WORLDS[name], POLICIES[policy])
    found = LEARNT[name].fit(world.log).propensities
    assert np.abs(found - world.propensities).max() < WITHIN


@pytest.mark.parametrize("policy", [WEAK, Policy(error=0.5, change=0.5)])
def test_trust_bias_asks_for_a_longer_log(policy: Policy) -> None:
    """Its slope at rank 1 is a third of what is clicked there: 200 thousand sessions."""
    world = a_world("trust", policy, sessions=200_000)
    found = AffineTrustBias().fit(world.log).propensities
    assert np.abs(found - world.propensities).max() < WITHIN


@pytest.mark.parametrize("name", ["harvest", "pbm", "cascade", "dcm"])
def test_clicks_of_the_simulation(name: str) -> None:
    world = a_world_of_the_simulation(WORLDS[name])
    found = LEARNT[name].fit(world.log).propensities
    assert np.abs(found - world.propensities).max() < WITHIN


@pytest.mark.parametrize("name", ["harvest", "pbm", "trust"])
def test_rankings_that_never_change_tell_nothing(name: str) -> None:
    world = a_world(WORLDS[name], FIXED, sessions=3000)
    report = identifiability(LEARNT[name], world.log, resamples=3)
    assert not report.identified.any()
    assert "no chain of pairs" in report.reasons[4]
    # What is not known is taken for the rank above it, in the end for rank 1: nothing is corrected.
    examined = LEARNT[name].fit(world.log).examinations(world.log)
    assert (examined == 1.0).all()


@pytest.mark.parametrize("policy", [WEAK, STRONG, Policy(error=2.0, change=0.1)])
@pytest.mark.parametrize(
    "estimator", [InterventionHarvest(), PositionBasedEM(), AffineTrustBias(), DependentClicks()]
)
def test_what_is_called_identified_is_right(estimator: Estimator, policy: Policy) -> None:
    """Half as much again as the tolerance: of ten intervals of 95 % one misses now and then."""
    world = a_world(WORLDS[estimator.name], policy, sessions=1500, seed=4)
    report = identifiability(estimator, world.log, resamples=8)
    off = np.abs(report.propensities - world.propensities)
    assert (off[report.identified] < 1.5 * WITHIN).all()
    if policy.change == 0.1 and estimator.name != "dcm":
        assert not report.identified[1:].all()


def test_a_short_log_is_told_from_a_long_one() -> None:
    short = identifiability(InterventionHarvest(), a_world("pbm", sessions=300).log)
    long = identifiability(InterventionHarvest(), a_world("pbm", sessions=20_000).log)
    assert not short.all_identified
    assert long.all_identified
    assert "the interval reaches" in " ".join(short.reasons)
    assert len(long.lines()) == 11


def test_swaps_of_neighbours_are_enough() -> None:
    """Rankings that never change, but for exploration."""
    world = a_world("pbm", FIXED, sessions=60_000, queries=20)
    log, source, share = world.log, np.random.default_rng(5), 0.4
    documents, swapped = log.documents.copy(), np.zeros(log.impressions, dtype=np.int64)
    rows = np.flatnonzero(source.random(log.impressions) < share)
    swapped[rows] = source.integers(1, 10, size=len(rows))
    upper = swapped[rows] - 1
    documents[rows, upper] = log.documents[rows, upper + 1]
    documents[rows, upper + 1] = log.documents[rows, upper]
    shown = np.take_along_axis(world.relevances[log.queries], documents, axis=1)
    explored = click_log(
        log.queries,
        documents,
        clicks=source.random(shown.shape) < shown / np.arange(1, 11),
        swapped_ranks=swapped,
        swap_probabilities=np.full(log.impressions, share / 9),
    )
    assert (explored.unswapped() == log.documents).all()
    for within_page in (False, True):
        found = InterventionHarvest(within_page=within_page).fit(explored).propensities
        assert np.abs(found - world.propensities).max() < WITHIN


def test_only_swaps_are_trusted_where_rankings_follow_demand() -> None:
    """Documents are moved up in the season in which they are wanted: harvesting over all changes
    takes the season for position, harvesting within pages does not."""
    source = np.random.default_rng(8)
    impressions, share = 120_000, 0.5
    season = source.random(impressions) < 0.5
    documents = np.where(season[:, None], [0, 1, 2], [2, 1, 0])
    wanted = np.where(season[:, None], [0.9, 0.5, 0.2], [0.2, 0.5, 0.9])
    swapped = np.where(source.random(impressions) < share, source.integers(1, 3, impressions), 0)
    for rank in (1, 2):
        rows = np.flatnonzero(swapped == rank)
        documents[rows, rank - 1 : rank + 1] = documents[rows, rank - 1 : rank + 1][:, ::-1]
    examined = np.array([1.0, 0.6, 0.4])
    shown = np.take_along_axis(wanted, documents, axis=1)
    log = click_log(
        np.zeros(impressions),
        documents,
        clicks=source.random(shown.shape) < shown * examined,
        swapped_ranks=swapped,
        swap_probabilities=np.full(impressions, share / 2),
    )
    misled = InterventionHarvest().fit(log).propensities
    right = InterventionHarvest(within_page=True).fit(log).propensities
    assert np.abs(right - examined).max() < 0.03
    assert np.abs(misled - examined).max() > 0.1


def test_a_cascade_is_a_dcm_that_never_goes_on() -> None:
    world = a_world("cascade", sessions=5000)
    model = DependentClicks().fit(world.log)
    assert (model.continuations[:-1] < 1e-3).all()
    found = CascadeClicks().fit(world.log).propensities
    assert np.abs(model.propensities - found).max() < 0.02
