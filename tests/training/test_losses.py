"""Losses over ragged lists against their formulas, written out pair by pair in plain Python."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

import torch

from training.losses.binary_cross_entropy import binary_cross_entropy
from training.losses.distillation import distillation
from training.losses.lambda_loss import lambda_loss
from training.losses.listwise_softmax import listwise_softmax
from training.losses.margin_mse import margin_mse
from training.losses.margin_ranking import margin_ranking
from training.losses.rank_net import rank_net
from training.losses.rerank_and_classify import rerank_and_classify

# A list of lists: (score, grade, weight) of each pair. Each loss below looks at one list.


def softmax(values):
    top = max(values)
    each = [math.exp(value - top) for value in values]
    return [one / sum(each) for one in each]


def softmax_of(rows, temperature=1.0):
    total = sum(grade for _, grade, _ in rows)
    if not total:
        return None
    chances = softmax([score / temperature for score, _, _ in rows])
    return -sum(
        weight * grade / total * math.log(chance)
        for (_, grade, weight), chance in zip(rows, chances, strict=True)
    )


def margin_mse_of(rows):
    if len(rows) < 2:
        return None
    each = [
        (wi + wj) / 2 * ((si - sj) - (ti - tj)) ** 2
        for place, (si, ti, wi) in enumerate(rows)
        for sj, tj, wj in rows[place + 1 :]
    ]
    return sum(each) / len(each)


def over_preferences(rows, one):
    each = [
        weight * one(score, other_score)
        for score, grade, weight in rows
        for other_score, other_grade, _ in rows
        if grade > other_grade
    ]
    return sum(each) / len(each) if each else None


def rank_net_of(rows, temperature=1.0):
    return over_preferences(rows, lambda s, o: math.log(1 + math.exp((o - s) / temperature)))


def margin_of(rows, margin=0.3):
    return over_preferences(rows, lambda s, o: max(0.0, margin - (s - o)))


def lambda_of(rows, weighting="ndcg_loss2++", mu=10.0):
    scores = sorted((score for score, _, _ in rows), reverse=True)
    grades = sorted((grade for _, grade, _ in rows), reverse=True)
    best = sum((2**grade - 1) / math.log2(1 + r) for r, grade in enumerate(grades, 1))
    total, told = 0.0, False
    for score, grade, weight in rows:
        for other_score, other_grade, _ in rows:
            if grade <= other_grade:
                continue
            told = True
            rank, other_rank = scores.index(score) + 1, scores.index(other_score) + 1
            swap = abs(1 / math.log2(1 + rank) - 1 / math.log2(1 + other_rank))
            if weighting == "ndcg_loss2++":
                apart = abs(rank - other_rank)
                swap += mu * abs(1 / math.log2(1 + apart) - 1 / math.log2(2 + apart))
            gain = abs(2**grade - 2**other_grade) / best
            total += weight * swap * gain * math.log2(1 + math.exp(other_score - score))
    return total if told else None


def distillation_of(rows, temperature=3.0):
    if len(rows) < 2:
        return None
    student = softmax([score / temperature for score, _, _ in rows])
    teacher = softmax([grade / temperature for _, grade, _ in rows])
    kl = sum(
        weight * p * math.log(p / q)
        for (_, _, weight), p, q in zip(rows, teacher, student, strict=True)
    )
    return temperature**2 * kl


LOSSES = {
    "listwise softmax": (listwise_softmax, softmax_of),
    "warm listwise softmax": (
        functools.partial(listwise_softmax, temperature=2.5),
        functools.partial(softmax_of, temperature=2.5),
    ),
    "MarginMSE": (margin_mse, margin_mse_of),
    "RankNet": (rank_net, rank_net_of),
    "warm RankNet": (
        functools.partial(rank_net, temperature=2.0),
        functools.partial(rank_net_of, temperature=2.0),
    ),
    "margin": (margin_ranking, margin_of),
    "wide margin": (
        functools.partial(margin_ranking, margin=2.0),
        functools.partial(margin_of, margin=2.0),
    ),
    "NDCG-Loss2++": (lambda_loss, lambda_of),
    "LambdaRank": (
        functools.partial(lambda_loss, weighting="lambda_rank"),
        functools.partial(lambda_of, weighting="lambda_rank"),
    ),
    "distillation": (distillation, distillation_of),
    "distillation of order": (
        functools.partial(distillation, temperature=1.5, rank_weight=0.7),
        None,  # the sum of two means: below
    ),
}
BY_LIST = pytest.mark.parametrize("name", LOSSES)


def random_lists(seed):
    """Ragged: of one pair, without a relevant one, with several, with all alike."""
    rng = np.random.default_rng(seed)
    sizes = [1, 2, 3, 5, 9, 4, 6]
    lists = []
    for size in sizes:
        scores = rng.normal(0, 2, size)
        grades = rng.choice([0, 0, 0, 1, 2, 3], size)
        weights = rng.uniform(0.1, 2.0, size)
        lists.append(list(zip(scores.tolist(), grades.tolist(), weights.tolist(), strict=True)))
    lists[5] = [(score, 0, weight) for score, _, weight in lists[5]]
    lists[6] = [(score, 2, weight) for score, _, weight in lists[6]]
    return lists


def flat(lists, dtype=torch.float64):
    """scores, groups, grades, weights."""
    rows = torch.tensor([row for one in lists for row in one], dtype=dtype)
    groups = torch.tensor([place for place, one in enumerate(lists) for _ in one])
    return rows[:, 0].clone(), groups, rows[:, 1].clone(), rows[:, 2].clone()


@pytest.mark.parametrize("name", [name for name, (_, by_hand) in LOSSES.items() if by_hand])
@pytest.mark.parametrize("seed", range(4))
def test_equal_to_the_formula_list_by_list(name, seed):
    loss, by_hand = LOSSES[name]
    lists = random_lists(seed)
    told = [value for value in map(by_hand, lists) if value is not None]
    assert float(loss(*flat(lists))) == pytest.approx(sum(told) / len(told), rel=1e-10)


def test_distillation_adds_the_order_of_the_teacher():
    given = flat(random_lists(0))
    value = distillation(*given, temperature=1.5, rank_weight=0.7)
    expected = distillation(*given, temperature=1.5) + 0.7 * rank_net(*given)
    torch.testing.assert_close(value, expected)


@BY_LIST
def test_gradients_are_those_of_finite_differences(name):
    scores, groups, grades, weights = flat(random_lists(1))
    scores.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda each: LOSSES[name][0](each, groups, grades, weights), (scores,), eps=1e-7, atol=1e-6
    )


@BY_LIST
def test_linear_in_the_weights(name):
    loss = LOSSES[name][0]
    scores, groups, grades, one = flat(random_lists(2))
    other = torch.rand(len(one), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    both = loss(scores, groups, grades, 2 * one + 3 * other)
    parts = 2 * loss(scores, groups, grades, one) + 3 * loss(scores, groups, grades, other)
    torch.testing.assert_close(both, parts)
    none = loss(scores, groups, grades, torch.zeros_like(one))
    assert float(none) == 0.0
    ones = loss(scores, groups, grades, torch.ones_like(one))
    torch.testing.assert_close(loss(scores, groups, grades), ones)


@BY_LIST
def test_the_order_of_pairs_and_the_numbers_of_lists_make_no_difference(name):
    loss = LOSSES[name][0]
    scores, groups, grades, weights = flat(random_lists(3))
    value = loss(scores, groups, grades, weights)
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(1))
    mixed = loss(scores[order], groups[order], grades[order], weights[order])
    torch.testing.assert_close(mixed, value)
    renamed = torch.tensor([4, 9, 0, 2, 11, 1, 7])[groups]  # with gaps
    torch.testing.assert_close(loss(scores, renamed, grades, weights), value)


@BY_LIST
def test_a_ragged_batch_is_the_mean_of_its_lists(name):
    """Lists of one length, padded by nothing: the dense case, one at a time."""
    loss = LOSSES[name][0]
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn((3, 5), dtype=torch.float64, generator=generator)
    grades = torch.tensor([[0, 1, 2, 0, 0], [1, 0, 0, 0, 3], [0, 0, 1, 1, 0]], dtype=torch.float64)
    groups = torch.arange(3).repeat_interleave(5)
    alone = [
        loss(one, torch.zeros(5, dtype=torch.long), grade)
        for one, grade in zip(scores, grades, strict=True)
    ]
    torch.testing.assert_close(loss(scores.flatten(), groups, grades.flatten()), sum(alone) / 3)


@BY_LIST
def test_huge_scores_and_bfloat16_stay_finite(name):
    loss = LOSSES[name][0]
    scores, groups, grades, weights = flat(random_lists(1), torch.float32)
    for each in (scores * 1e4, scores.bfloat16()):
        leaf = each.clone().requires_grad_()
        value = loss(leaf, groups, grades, weights)
        value.backward()
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert leaf.grad.isfinite().all()


@BY_LIST
def test_what_says_nothing_is_nought_with_a_gradient(name):
    loss = LOSSES[name][0]
    score = torch.tensor([0.5], requires_grad=True)
    value = loss(score, torch.tensor([0]), torch.tensor([0.0]))
    value.backward()
    assert float(value.detach()) == 0.0
    assert float(score.grad) == 0.0


@pytest.mark.parametrize("positive_weight", [1.0, 3.0])
def test_binary_cross_entropy(positive_weight):
    scores, groups, grades, weights = flat(random_lists(0))
    targets = grades / 3
    expected = 0.0
    rows = zip(scores.tolist(), targets.tolist(), weights.tolist(), strict=True)
    for score, target, weight in rows:
        chance = 1 / (1 + math.exp(-score))
        said = positive_weight * target * math.log(chance) + (1 - target) * math.log(1 - chance)
        expected -= weight * said / len(scores)
    loss = functools.partial(binary_cross_entropy, positive_weight=positive_weight)
    assert float(loss(scores, groups, targets, weights)) == pytest.approx(expected, rel=1e-10)
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, groups, targets, weights), (scores,))
    with pytest.raises(ValueError, match="grades from 0 to 1"):
        binary_cross_entropy(scores, groups, grades)


def test_rerank_and_classify_is_the_weighted_sum():
    scores, groups, grades, weights = flat(random_lists(0))
    count = len(scores)
    listwise = listwise_softmax(scores, groups, grades, weights)
    logits = torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = (grades > 0).long()
    classified = binary_cross_entropy(logits, groups, labels.double(), weights)
    value = rerank_and_classify(scores, groups, grades, logits, labels, weights)
    torch.testing.assert_close(value, listwise + 0.3 * classified)
    three = torch.randn((count, 3), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    classes = grades.long().clamp(max=2)
    each = [
        -weight * math.log(softmax(row)[label])
        for row, label, weight in zip(
            three.tolist(), classes.tolist(), weights.tolist(), strict=True
        )
    ]
    value = rerank_and_classify(scores, groups, grades, three, classes, weights, class_weight=0.5)
    assert float(value) == pytest.approx(float(listwise) + 0.5 * sum(each) / count)


def test_margin_mse_does_not_see_a_shift_of_a_list():
    scores, groups, teacher, weights = flat(random_lists(0))
    shift = torch.arange(7, dtype=torch.float64)[groups]
    torch.testing.assert_close(
        margin_mse(scores + shift, groups, teacher, weights),
        margin_mse(scores, groups, teacher, weights),
    )


def test_a_teacher_that_agrees_asks_for_nothing():
    scores, groups, _, _ = flat(random_lists(0))
    assert float(distillation(scores, groups, scores)) == pytest.approx(0.0, abs=1e-12)
    assert float(margin_mse(scores, groups, scores)) == pytest.approx(0.0, abs=1e-12)
