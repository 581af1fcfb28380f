"""The tests of significance against enumeration, worked cases and simulated coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from training.evaluation.significance import (
    EXACT_QUERIES,
    bootstrap_interval,
    bootstrap_intervals,
    compare,
    compare_slices,
    holm,
    minimum_detectable_effect,
    queries_needed,
    randomisation_p,
)


def enumerated_p(differences, alternative):
    """Every pattern of signs, one by one."""
    observed, count, patterns = sum(differences), 0, 0
    for signs in itertools.product((1, -1), repeat=len(differences)):
        value = sum(sign * one for sign, one in zip(signs, differences, strict=True))
        more = (
            abs(value) >= abs(observed) - 1e-9
            if alternative == "two-sided"
            else (value >= observed - 1e-9)
        )
        count, patterns = count + more, patterns + 1
    return count / patterns


@pytest.mark.parametrize("alternative", ["two-sided", "greater"])
@pytest.mark.parametrize("seed", range(5))
def test_few_queries_are_enumerated(seed, alternative):
    rng = np.random.default_rng(seed)
    differences = np.round(rng.normal(0.3, 1.0, 9), 1)  # rounded: with ties and noughts
    expected = enumerated_p(differences.tolist(), alternative)
    assert randomisation_p(differences, alternative) == pytest.approx(expected, abs=1e-12)


def test_worked_cases():
    assert randomisation_p([1.0, 1.0, 1.0, 1.0, 1.0]) == 2 / 32
    assert randomisation_p([1.0, 1.0, 1.0, 1.0, 1.0], "greater") == 1 / 32
    assert randomisation_p([-1.0, -1.0], "greater") == 1.0
    assert randomisation_p([0.0, 0.0]) == 1.0
    assert randomisation_p([]) == 1.0
    assert randomisation_p([0.3] * 40, draws=999) == 1 / 1000  # never nought


def test_drawn_patterns_approach_the_enumerated_ones():
    differences = np.random.default_rng(1).normal(0.25, 1.0, EXACT_QUERIES + 2)
    halved = randomisation_p(differences, draws=200_000, seed=3)
    sums = np.zeros(1)
    for one in differences:
        sums = np.concatenate([sums + one, sums - one])
    exact = np.mean(np.abs(sums) >= abs(differences.sum()) - 1e-9)
    assert halved == pytest.approx(exact, abs=0.004)


def test_one_seed_one_answer():
    differences = np.random.default_rng(1).normal(0.1, 1.0, 80)
    assert randomisation_p(differences, seed=4) == randomisation_p(differences, seed=4)
    assert bootstrap_interval(differences, seed=4) == bootstrap_interval(differences, seed=4)
    assert bootstrap_interval(differences, seed=4) != bootstrap_interval(differences, seed=5)


@pytest.mark.parametrize(("alternative", "shape"), [("two-sided", 30), ("greater", 12)])
def test_equals_are_called_different_as_often_as_the_level_says(alternative, shape):
    rng = np.random.default_rng(7)
    rounds = 1000
    ps = np.array(
        [
            randomisation_p(rng.normal(0, 1, shape) ** 3, alternative, 400, seed)
            for seed in range(rounds)
        ]
    )
    for level in (0.05, 0.2):
        spread = 3 * math.sqrt(level * (1 - level) / rounds)
        assert abs(np.mean(ps <= level) - level) <= spread + 1 / 400


def skewed(rng, count):
    """As differences of nDCG are: most nought, few large; the mean is .035."""
    changed = rng.random(count) < 0.35
    return np.where(changed, np.clip(rng.exponential(0.35, count) - 0.25, -1, 1), 0.0)


@pytest.mark.parametrize(("count", "least"), [(50, 0.915), (200, 0.93)])
def test_intervals_cover_the_truth(count, least):
    rng = np.random.default_rng(11)
    truth = skewed(np.random.default_rng(0), 2_000_000).mean()
    intervals = [bootstrap_interval(skewed(rng, count), 0.95, 1000, seed) for seed in range(600)]
    covered = np.mean([low <= truth <= high for low, high in intervals])
    assert least <= covered <= 0.98


def test_intervals_of_what_does_not_vary():
    assert bootstrap_interval([0.0, 0.0, 0.0]) == (0.0, 0.0)
    assert bootstrap_interval([0.4]) == (-math.inf, math.inf)
    assert bootstrap_interval([]) == (-math.inf, math.inf)


def test_a_normal_sample_has_the_textbook_interval():
    each = np.random.default_rng(2).normal(1.0, 2.0, 400)
    error = each.std(ddof=1) / math.sqrt(400)
    low, high = bootstrap_interval(each, draws=20_000)
    assert (low, high) == pytest.approx(
        (each.mean() - 1.96 * error, each.mean() + 1.96 * error), abs=0.02
    )


def test_a_skewed_sample_has_the_interval_of_second_order():
    """mean + error (z + (2 z^2 + 1) skewness / (6 sqrt(n))): Hall, The Bootstrap, 1992, 3.5."""
    each = np.random.default_rng(4).exponential(1.0, 200)
    error = each.std() / math.sqrt(200)
    skewness = np.mean((each - each.mean()) ** 3) / each.std() ** 3
    expected = [
        each.mean() + error * (z + (2 * z * z + 1) * skewness / (6 * math.sqrt(200)))
        for z in (-1.96, 1.96)
    ]
    assert bootstrap_interval(each, draws=40_000) == pytest.approx(expected, abs=0.08 * error)


def test_holm_worked_by_hand():
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert corrected == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(corrected) == ["a", "b", "c", "d"]
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_the_detectable_effect_is_detected_four_times_of_five():
    rng = np.random.default_rng(5)
    effect = minimum_detectable_effect(rng.normal(0, 0.3, 100_000)) * math.sqrt(100_000 / 120)
    found = [
        randomisation_p(rng.normal(effect, 0.3, 120), draws=500, seed=seed) < 0.05
        for seed in range(500)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)


def test_queries_needed_is_the_inverse_of_the_detectable_effect():
    each = np.random.default_rng(5).normal(0, 0.3, 150)
    assert queries_needed(each, minimum_detectable_effect(each)) in {150, 151}
    with pytest.raises(ValueError, match="above 0"):
        queries_needed(each, 0.0)


def test_a_comparison_counts_and_averages():
    production = {"a": 0.5, "b": 0.2, "c": 0.0, "d": 1.0}
    candidate = {"d": 1.0, "c": 0.5, "b": 0.1, "a": 1.0}
    made = compare(production, candidate)
    assert (made.queries, made.better, made.worse) == (4, 2, 1)
    assert made.production == pytest.approx(0.425)
    assert made.difference == pytest.approx(0.225)
    assert made.low <= made.difference <= made.high


def test_slices_are_corrected_for_their_number():
    rng = np.random.default_rng(3)
    production = {f"q{n}": float(rng.random()) for n in range(60)}
    candidate = {name: value + float(rng.normal(0.1, 0.2)) for name, value in production.items()}
    slices = {"head": list(production)[:30], "tail": list(production)[30:]}
    alone = {
        name: compare({q: production[q] for q in ids}, {q: candidate[q] for q in ids}).p
        for name, ids in slices.items()
    }
    compared = compare_slices(production, candidate, slices)
    assert {name: one.p for name, one in compared.items()} == holm(alone)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="1 queries have a value of one model only"):
        compare({"a": 1.0, "b": 0.0}, {"a": 1.0})
    with pytest.raises(ValueError, match="no queries"):
        compare({}, {})
    with pytest.raises(ValueError, match="finite"):
        randomisation_p([0.1, math.nan])
    with pytest.raises(ValueError, match="one dimension"):
        bootstrap_interval([[0.1, 0.2]])


def test_intervals_of_columns_are_those_of_each_alone():
    columns = np.random.default_rng(3).beta(0.5, 0.5, (70, 5))
    columns[:, 2] = 0.25
    together = bootstrap_intervals(columns, draws=500, seed=9)
    for each, found in zip(columns.T, together, strict=True):
        assert found == pytest.approx(bootstrap_interval(each, draws=500, seed=9), abs=1e-12)
    assert bootstrap_intervals(columns[:1]) == [(-math.inf, math.inf)] * 5
