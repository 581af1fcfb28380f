"""Platt's fit against torch, which minimises the same likelihood in its own way."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

import torch

from training.carried.evaluate import ScoredList, judged_pairs
from training.exporting.calibration import fit_platt


def fit_by_torch(logits, relevant):
    """Slope and intercept by L-BFGS over the cross-entropy with Platt's targets, in float64."""
    scores = torch.tensor(logits, dtype=torch.float64)
    labels = torch.tensor(relevant)
    positive, negative = int(labels.sum()), int((~labels).sum())
    targets = torch.where(
        labels,
        torch.tensor((positive + 1) / (positive + 2), dtype=torch.float64),
        torch.tensor(1 / (negative + 2), dtype=torch.float64),
    )
    point = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    steps = torch.optim.LBFGS([point], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-14)

    def loss():
        steps.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(
            point[0] * scores + point[1], targets, reduction="sum"
        )
        value.backward()
        return value

    steps.step(loss)
    return point.tolist()


@pytest.mark.parametrize(("slope", "intercept", "count"), [(0.8, -3.0, 800), (2.0, 1.0, 60)])
def test_equal_to_torchs_maximum_likelihood(slope, intercept, count):
    rng = np.random.default_rng(count)
    logits = rng.normal(0.0, 3.0, count)
    relevant = rng.random(count) < 1 / (1 + np.exp(-(slope * logits + intercept)))
    fitted = fit_platt(logits.tolist(), relevant.tolist())
    assert [fitted.slope, fitted.intercept] == pytest.approx(
        fit_by_torch(logits.tolist(), relevant.tolist()), abs=1e-4
    )


def test_many_judgments_give_the_probabilities_they_were_drawn_with():
    rng = np.random.default_rng(3)
    logits = rng.normal(0.0, 3.0, 60_000)
    relevant = rng.random(60_000) < 1 / (1 + np.exp(-(0.8 * logits - 3.0)))
    fitted = fit_platt(logits.tolist(), relevant.tolist())
    assert (fitted.slope, fitted.intercept) == pytest.approx((0.8, -3.0), abs=0.06)


def test_pairs_that_a_threshold_separates_do_not_run_away():
    fitted = fit_platt([-2.0, -1.0, 1.0, 2.0], [False, False, True, True])
    assert 0 < fitted.slope < 5
    assert 0.5 < fitted.probability(2.0) < 0.95


def test_large_logits_do_not_overflow():
    fitted = fit_platt([-9000.0, 9000.0, -8000.0, 8500.0], [False, True, False, True])
    assert 0.0 <= fitted.probability(-9000.0) < 0.5 < fitted.probability(9000.0) <= 1.0


@pytest.mark.parametrize("relevant", [[True, True], [False, False], []])
def test_one_kind_of_pair_is_not_enough(relevant):
    with pytest.raises(ValueError, match="relevant and other"):
        fit_platt([1.0, 2.0][: len(relevant)], relevant)


def test_half_of_the_best_grade_is_relevant_and_what_was_not_judged_is_not():
    ids = ("a", "b", "c", "d")
    early, last = np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0, 4.0])
    one = ScoredList(ids, np.zeros(4), early, last, {"a": 3, "b": 2, "c": 1})
    assert judged_pairs([one], of_last=False, depth=4) == (
        [4.0, 3.0, 2.0, 1.0],
        [True, True, False, False],
    )
    assert judged_pairs([one], of_last=True, depth=2) == ([1.0, 2.0], [True, True])
