"""Every loss teaches a small model to rank: nDCG@10 of queries that it has not seen."""

from __future__ import annotations

import functools

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

import torch

from training.losses.binary_cross_entropy import binary_cross_entropy
from training.losses.distillation import distillation
from training.losses.info_nce import info_nce
from training.losses.lambda_loss import lambda_loss
from training.losses.list_scores import list_scores
from training.losses.listwise_softmax import listwise_softmax
from training.losses.margin_mse import margin_mse
from training.losses.margin_ranking import margin_ranking
from training.losses.matryoshka import matryoshka
from training.losses.rank_net import rank_net
from training.measures import JudgedRankings, measure_rankings, parse_measure

FEATURES, LISTS, CANDIDATES = 8, 30, 10
LISTWISE = {
    "listwise softmax": listwise_softmax,
    "binary cross-entropy": lambda s, groups, g: binary_cross_entropy(s, groups, g / 3),
    "NDCG-Loss2++": lambda_loss,
    "LambdaRank": functools.partial(lambda_loss, weighting="lambda_rank"),
    "margin": margin_ranking,
    "RankNet": rank_net,
    "MarginMSE": margin_mse,
    "distillation": functools.partial(distillation, rank_weight=1.0),
}


def pairs_of(seed):
    """Features (pairs, features), groups, grades from 0 to 3 that the features tell."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn((LISTS * CANDIDATES, FEATURES), generator=generator)
    told = features @ torch.linspace(-1, 1, FEATURES)
    grades = torch.bucketize(told, torch.tensor([0.5, 1.5, 2.5])).float()
    return features, torch.arange(LISTS).repeat_interleave(CANDIDATES), grades


def mean_ndcg(scores, grades):
    """Lists of one length."""
    order = np.argsort(-scores.detach().reshape(LISTS, CANDIDATES).numpy(), axis=1)
    judged = grades.reshape(LISTS, CANDIDATES).double().numpy()
    rankings = JudgedRankings(
        tuple(map(str, range(LISTS))),
        np.take_along_axis(judged, order, axis=1),
        -np.sort(-judged, axis=1),
    )
    values = measure_rankings(parse_measure("nDCG@10"), rankings)
    return float(values[rankings.judgments.any(axis=1)].mean())


def trained(model, loss, steps=50):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("name", LISTWISE)
def test_a_loss_over_lists_teaches_to_rank(name):
    torch.manual_seed(0)
    model = torch.nn.Linear(FEATURES, 1)
    features, groups, grades = pairs_of(1)
    unseen, _, truth = pairs_of(2)
    before = mean_ndcg(model(unseen)[:, 0], truth)
    trained(model, lambda: LISTWISE[name](model(features)[:, 0], groups, grades))
    assert before < 0.8
    assert mean_ndcg(model(unseen)[:, 0], truth) > 0.95


def contrast(queries, documents, groups, grades):
    return info_nce(queries, documents, groups, grades, temperature=0.1)


EMBEDDING = {
    "InfoNCE": contrast,
    "Matryoshka": lambda q, d, groups, grades: matryoshka(
        lambda one, other: contrast(one, other, groups, grades), q, d, (4, 8)
    ),
    "listwise softmax": lambda q, d, groups, grades: listwise_softmax(
        list_scores(q, d, groups, temperature=0.1), groups, grades
    ),
}


def texts_of(seed):
    """A document is a turned and noisy query: its own is relevant, and no other."""
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn((LISTS, FEATURES), generator=generator)
    documents = torch.randn((LISTS, CANDIDATES, FEATURES), generator=generator)
    documents[:, 0] = queries.flip(1) + 0.3 * documents[:, 0]
    grades = torch.zeros(LISTS, CANDIDATES)
    grades[:, 0] = 1
    groups = torch.arange(LISTS).repeat_interleave(CANDIDATES)
    return queries, documents.flatten(0, 1), groups, grades.flatten()


@pytest.mark.parametrize("name", EMBEDDING)
def test_a_loss_over_vectors_teaches_to_find(name):
    torch.manual_seed(0)
    model = torch.nn.Linear(FEATURES, FEATURES)
    queries, documents, groups, grades = texts_of(1)
    trained(model, lambda: EMBEDDING[name](model(queries), documents, groups, grades))
    queries, documents, groups, grades = texts_of(2)
    untaught = mean_ndcg(list_scores(queries, documents, groups), grades)
    assert untaught < 0.6
    assert mean_ndcg(list_scores(model(queries), documents, groups), grades) > 0.9
