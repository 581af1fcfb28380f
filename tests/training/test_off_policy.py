"""Off-policy estimates on simulated clicks, where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.clicks.log import UNSHOWN, click_log
from training.evaluation.exposure import (
    Examination,
    PairValues,
    attraction_of,
    expected_examination,
)
from training.evaluation.off_policy import dcg_weights, difference, doubly_robust, snips
from training.propensity.base import Relevances, position_model

QUERIES, DOCUMENTS, SHOWN = 12, 8, 5
THETA = np.array([0.9, 0.6, 0.4, 0.25, 0.15])
MODEL = Examination.of(THETA)
WORLD = np.random.default_rng(42)
ATTRACTION = WORLD.uniform(0.05, 0.8, (QUERIES, DOCUMENTS))
TRAFFIC = WORLD.dirichlet(np.full(QUERIES, 3.0))
BEST = np.argsort(-ATTRACTION, axis=1)[:, :SHOWN]
WORST = np.argsort(ATTRACTION, axis=1)[:, :SHOWN]
TRUE_PAIRS = Relevances(np.arange(QUERIES * DOCUMENTS), ATTRACTION.ravel(), 0.4)


def truth(rankings, weights, attraction=ATTRACTION):
    earned = np.take_along_axis(attraction, rankings, axis=1) @ weights
    return float(TRAFFIC @ earned)


def shown_at_random(rng, impressions, examination=MODEL, concentration=0.6):
    """A weak logger: Plackett-Luce over noisy attractions, all documents have a chance."""
    queries = rng.choice(QUERIES, impressions, p=TRAFFIC)
    utility = concentration * np.log(1 - ATTRACTION[queries]) + rng.gumbel(
        size=(impressions, DOCUMENTS)
    )
    documents = np.argsort(-utility, axis=1)[:, :SHOWN]
    return clicked(rng, queries, documents, examination)


def clicked(rng, queries, documents, examination=MODEL, **columns):
    attraction = ATTRACTION[queries[:, None], documents]
    chance = examination.examined * attraction + examination.noise
    return click_log(
        queries,
        documents,
        clicks=rng.random(documents.shape) < chance,
        query_names=tuple(f"q{n}" for n in range(QUERIES)),
        document_names=tuple(f"d{n}" for n in range(DOCUMENTS)),
        **columns,
    )


def estimates(log, rankings, weights=THETA, examination=MODEL, attraction=TRUE_PAIRS):
    exposure = expected_examination(log, examination)
    by_clicks = snips(log, rankings, weights, examination, exposure)
    return by_clicks, doubly_robust(log, rankings, weights, examination, exposure, attraction)


@pytest.mark.parametrize("weights", [THETA, dcg_weights(SHOWN)], ids=["clicks", "DCG"])
@pytest.mark.parametrize("rankings", [BEST, WORST], ids=["best", "worst"])
def test_intervals_hold_the_truth_and_are_no_wider_than_the_estimates_vary(rankings, weights):
    rng = np.random.default_rng(1)
    expected, rounds = truth(rankings, weights), 300
    made = [estimates(shown_at_random(rng, 1500), rankings, weights) for _ in range(rounds)]
    for each in zip(*made, strict=True):
        held = np.mean([one.low <= expected <= one.high for one in each])
        width = np.mean([one.high - one.low for one in each])
        assert 0.92 <= held <= 0.98
        assert width / (2 * 1.96) == pytest.approx(np.std([one.value for one in each]), rel=0.08)


def test_a_better_ranking_is_told_from_what_the_worse_one_was_shown():
    log = shown_at_random(np.random.default_rng(2), 20_000)
    naive = log.clicks.sum() / log.impressions
    for one in estimates(log, BEST):
        assert one.value == pytest.approx(truth(BEST, THETA), rel=0.04)
        assert one.unsupported == 0.0
    assert naive < 0.85 * truth(BEST, THETA)


def test_a_good_model_narrows_and_a_bad_one_does_not_mislead():
    rng, expected = np.random.default_rng(3), truth(BEST, THETA)
    wrong = Relevances(np.array([], dtype=np.int64), np.array([]), 0.9)
    widths, values = [], []
    for _ in range(60):
        log = shown_at_random(rng, 1500)
        by_clicks, good = estimates(log, BEST)
        _, bad = estimates(log, BEST, attraction=wrong)
        widths.append([one.high - one.low for one in (by_clicks, good, bad)])
        values.append(bad.value)
    clicks, good_width, bad_width = np.mean(widths, axis=0)
    assert good_width < clicks
    assert good_width < bad_width
    assert np.mean(values) == pytest.approx(expected, abs=4 * np.std(values) / math.sqrt(60))


def test_a_right_model_mends_wrong_exposures():
    log = shown_at_random(np.random.default_rng(4), 20_000)
    right = expected_examination(log, MODEL)
    wrong = PairValues(right.ids, right.values * 0.5)
    expected = truth(BEST, THETA)
    robust = doubly_robust(log, BEST, THETA, MODEL, wrong, TRUE_PAIRS)
    assert robust.value == pytest.approx(expected, rel=0.06)


def test_swaps_of_exploration_count_with_their_probability():
    rng = np.random.default_rng(5)
    share, impressions = 0.6, 60_000
    queries = rng.choice(QUERIES, impressions, p=TRAFFIC)
    documents = WORST[queries]
    swapped = np.where(rng.random(impressions) < share, rng.integers(1, SHOWN, impressions), 0)
    rows = np.flatnonzero(swapped)
    upper = swapped[rows] - 1
    documents[rows, upper], documents[rows, upper + 1] = (
        documents[rows, upper + 1],
        documents[rows, upper],
    )
    log = clicked(
        rng,
        queries,
        documents,
        swapped_ranks=swapped,
        swap_probabilities=np.full(impressions, share / (SHOWN - 1)),
    )
    designed = expected_examination(log, MODEL)
    plain = click_log(
        queries, documents, query_names=log.query_names, document_names=log.document_names
    )
    counted = expected_examination(plain, MODEL)
    assert np.array_equal(designed.ids, counted.ids)
    assert np.abs(designed.values - counted.values).max() < 0.02
    turned = WORST[:, ::-1]
    assert snips(log, turned, THETA, MODEL, designed).value == pytest.approx(
        truth(turned, THETA), rel=0.05
    )


def test_noise_of_trust_is_taken_off():
    trusting = Examination(THETA, np.array([0.09, 0.06, 0.04, 0.02, 0.01]))
    log = shown_at_random(np.random.default_rng(6), 30_000, trusting)
    expected = truth(BEST, dcg_weights(SHOWN))
    for one in estimates(log, BEST, dcg_weights(SHOWN), trusting):
        assert one.value == pytest.approx(expected, rel=0.04)
    believing, _ = estimates(log, BEST, dcg_weights(SHOWN))
    assert believing.value > expected * 1.1


def test_two_policies_on_one_log_differ_within_a_paired_interval():
    rng = np.random.default_rng(7)
    expected = truth(BEST, THETA) - truth(np.roll(BEST, 1, axis=1), THETA)
    held, rounds = 0, 150
    for _ in range(rounds):
        log = shown_at_random(rng, 1500)
        one, other = estimates(log, BEST)[0], estimates(log, np.roll(BEST, 1, axis=1))[0]
        between = difference(one, other)
        held += between.low <= expected <= between.high
        assert between.high - between.low < (one.high - one.low) + (other.high - other.low)
    assert held / rounds >= 0.9


def test_what_was_never_shown_is_said_and_modelled():
    rng = np.random.default_rng(8)
    queries = rng.choice(QUERIES, 20_000, p=TRAFFIC)
    log = clicked(rng, queries, WORST[queries])
    by_clicks, robust = estimates(log, BEST)
    assert by_clicks.unsupported > 0.4
    assert by_clicks.value < 0.5 * truth(BEST, THETA)
    assert robust.value == pytest.approx(truth(BEST, THETA), rel=0.03)


def test_sessions_that_repeat_widen_the_interval():
    log = shown_at_random(np.random.default_rng(9), 2000)
    twice = log.select(np.repeat(np.arange(2000), 2))
    one, doubled = estimates(log, BEST)[0], estimates(twice, BEST)[0]
    assert doubled.value == pytest.approx(one.value)
    assert doubled.high - doubled.low == pytest.approx(one.high - one.low, rel=1e-6)


def test_a_weight_counts_as_often():
    log = shown_at_random(np.random.default_rng(10), 500)
    factors = np.random.default_rng(0).integers(1, 4, 500)
    repeated = log.select(np.repeat(np.arange(500), factors))
    for weighted, plain in zip(
        estimates(log.weighted(factors.astype(float)), BEST), estimates(repeated, BEST), strict=True
    ):
        assert weighted.value == pytest.approx(plain.value)
        assert (weighted.low, weighted.high) == pytest.approx((plain.low, plain.high))


def test_attraction_is_clicks_over_examinations_drawn_to_the_mean():
    log = shown_at_random(np.random.default_rng(11), 60_000)
    found = attraction_of(log, MODEL)
    assert np.abs(found.values - ATTRACTION.ravel()[found.pair_ids]).mean() < 0.03
    one = click_log(np.array([0, 0]), np.array([[0, 1], [0, 1]]), clicks=np.array([[1, 0], [1, 0]]))
    drawn = attraction_of(one, Examination.of(np.array([1.0, 0.5])), prior=3.0)
    mean = 2 / 3
    assert drawn.values == pytest.approx([(2 + 3 * mean) / (2 + 3), 3 * mean / (1 + 3)])


def test_a_fitted_click_model_is_the_model_of_a_doubly_robust_estimate():
    """Fitted on one part of the log, estimated on the other."""
    log = shown_at_random(np.random.default_rng(14), 30_000)
    fitted_on, estimated_on = log.split(0.5, seed=1)
    model = position_model("given", fitted_on, THETA)
    examination = Examination(model.slopes, model.intercepts)
    exposure = expected_examination(estimated_on, examination)
    robust = doubly_robust(
        estimated_on, BEST, model.slopes, examination, exposure, model.relevances
    )
    assert robust.low < truth(BEST, THETA) < robust.high
    assert robust.high - robust.low < 0.06 * truth(BEST, THETA)


def test_its_own_ranking_is_estimated_as_what_it_got():
    rng = np.random.default_rng(12)
    queries = rng.choice(QUERIES, 3000, p=TRAFFIC)
    log = clicked(rng, queries, WORST[queries])
    clicks = log.clicks.sum() / log.impressions
    exposure = expected_examination(log, MODEL)
    own = snips(log, WORST, THETA, MODEL, exposure)
    assert own.value == pytest.approx(clicks)
    assert own.effective_impressions == pytest.approx(3000)


def test_what_cannot_be_estimated_is_refused():
    log = shown_at_random(np.random.default_rng(13), 50)
    exposure = expected_examination(log, MODEL)
    with pytest.raises(ValueError, match="5 ranks, the examination 2"):
        snips(log, BEST, THETA, Examination.of(THETA[:2]), exposure)
    with pytest.raises(ValueError, match="a row for every query"):
        snips(log, BEST[:3], THETA, MODEL, exposure)
    with pytest.raises(ValueError, match="5 ranks have 3 weights"):
        snips(log, BEST, THETA[:3], MODEL, exposure)
    with pytest.raises(ValueError, match="ranked twice"):
        snips(log, np.zeros_like(BEST), THETA, MODEL, exposure)
    unknown = Examination.of(np.append(THETA[:4], np.nan))
    with pytest.raises(ValueError, match="of a shown rank is not known"):
        snips(log, BEST, THETA, unknown, exposure)
    with pytest.raises(ValueError, match="no impressions"):
        snips(log.select(np.array([], dtype=int)), BEST, THETA, MODEL, exposure)
    short = np.where(np.arange(SHOWN) < 2, BEST, UNSHOWN)
    assert snips(log, short, THETA, MODEL, exposure).value >= 0
