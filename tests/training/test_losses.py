"""Losses against their formulas, written out pair by pair in numpy float64."""

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

import torch

from training.losses.listwise_softmax import listwise_softmax
from training.losses.margin_mse import margin_mse

SCORES = np.array([[2.0, -1.0, 0.5, 3.0], [0.0, 0.1, -0.2, 0.3]])
TEACHER = np.array([[1.0, 0.0, 0.5, 2.5], [5.0, 1.0, 1.0, 0.0]])


def test_margin_mse_is_the_mean_over_all_pairs():
    each = [
        ((s[i] - s[j]) - (t[i] - t[j])) ** 2
        for s, t in zip(SCORES, TEACHER, strict=True)
        for i in range(4)
        for j in range(i + 1, 4)
    ]
    expected = sum(each) / len(each)
    value = margin_mse(torch.tensor(SCORES), torch.tensor(TEACHER))
    assert float(value) == pytest.approx(expected, rel=1e-12)


def test_margin_mse_does_not_see_a_shift():
    shifted = torch.tensor(SCORES + np.array([[7.0], [-3.0]]))
    value = margin_mse(shifted, torch.tensor(TEACHER))
    assert float(value) == pytest.approx(
        float(margin_mse(torch.tensor(SCORES), torch.tensor(TEACHER)))
    )


def test_listwise_softmax_against_the_formula():
    gains = np.array([[1.0, 0.0, 0.0, 0.0], [3.0, 0.0, 1.0, 0.0]])
    expected = 0.0
    for scores, gain in zip(SCORES, gains, strict=True):
        normaliser = math.log(sum(math.exp(score) for score in scores))
        share = gain / gain.sum()
        expected -= sum(p * (s - normaliser) for p, s in zip(share, scores, strict=True)) / 2
    value = listwise_softmax(torch.tensor(SCORES), torch.tensor(gains))
    assert float(value) == pytest.approx(expected, rel=1e-12)


def test_a_list_without_a_gain_says_nothing():
    gains = torch.tensor([[0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    scores = torch.tensor(SCORES)
    both = listwise_softmax(scores, gains)
    assert float(both) == pytest.approx(float(listwise_softmax(scores[:1], gains[:1])))
    assert float(listwise_softmax(scores[1:], gains[1:])) == 0.0
