"""How much better one set of labels ranks than another, told by clicks that neither was made of.

Held-out clicks over their expected examinations under a click model, `judge`, are unbiased for
relevance where the model is right, however few there are of a pair. So

    DCG(labels) = sum over folds and pairs d of r(d) / log2(1 + rank of d by the labels of the rest)
    r(d) = held-out (clicks - clicks for the rank alone) / examinations in the whole log

is an unbiased estimate, up to one factor for a query, of what ranking by the labels is worth, noise
of the labels and wrong corrections included: the judge is drawn again from resampled sessions, as
it does not know the examinations better than that. The denominator is the whole log's, so that
pairs that happen not to be held out, or not to be examined there, do not count for less. Evaluation
of a ranking by corrected clicks is that of Joachims, Swaminathan, Schnabel (WSDM 2017), section 4;
splitting sessions keeps labels from being judged by their own noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.clicks.log import ClickLog, FloatArray, IntArray
from training.labels.from_clicks import expected_examinations
from training.propensity.base import ClickModel, clipped
from training.propensity.cells import totals

DEPTH = 10
LEAST = 0.02  # examinations are taken for no less


@dataclass(frozen=True, slots=True)
class Gain:
    """DCG@10 of labels over that of others, as a share of the latter; the error is of the sessions
    and of the judge, `queries` those with clicks held out."""

    share: float
    error: float
    queries: int


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """A held-out part of a log, and how labels of the rest score pairs, each set by name."""

    held: ClickLog
    pair_ids: IntArray  # (pairs,) ascending: of the whole log
    scores: dict[str, FloatArray]  # (pairs,) each


def gains(folds: Sequence[Fold], judges: Sequence[ClickModel], baseline: str) -> dict[str, Gain]:
    """Of every other set of labels over the baseline's. `judges`: draws of one model."""
    drawn = [_worth(folds, judge) for judge in judges]
    return {
        name: _gain([one[name] for one in drawn], [one[baseline] for one in drawn])
        for name in folds[0].scores
        if name != baseline
    }


def _worth(folds: Sequence[Fold], judge: ClickModel) -> dict[str, FloatArray]:
    """(queries,) of each set of labels: DCG, summed over folds."""
    counted = [_earned_and_examined(fold, judge) for fold in folds]
    examined = np.maximum(np.sum([seen for _, seen in counted], axis=0), LEAST)
    queries = folds[0].pair_ids // len(folds[0].held.document_names)
    count = len(folds[0].held.query_names)
    found = {name: np.zeros(count) for name in folds[0].scores}
    for fold, (earned, _) in zip(folds, counted, strict=True):
        for name, scores in fold.scores.items():
            found[name] += totals(queries, earned / examined * discounts(queries, scores), count)
    return found


def _earned_and_examined(fold: Fold, judge: ClickModel) -> tuple[FloatArray, FloatArray]:
    """(pairs,): held-out clicks less those for the rank, and expected examinations."""
    held = fold.held
    row, rank = np.nonzero(held.shown)
    place = np.searchsorted(fold.pair_ids, held.pair_ids[row, rank])
    examined = _examined_given_above(held, judge)
    beyond = np.where(examined > 0, held.clicks - judge.clicks_for_rank(held), 0.0)
    weights, count = held.weights[row], len(fold.pair_ids)
    return (
        totals(place, weights * beyond[row, rank], count),
        totals(place, weights * examined[row, rank], count),
    )


def _examined_given_above(held: ClickLog, judge: ClickModel) -> FloatArray:
    """(impressions, ranks): what is known of the clicks above makes examinations surer, and leaves
    clicks over examinations unbiased: E(click | above) = P(examined | above) relevance."""
    before, told = judge.click_probabilities(held), judge.conditional_click_probabilities(held)
    surer = np.divide(told, before, out=np.ones_like(before), where=before > 0)
    examined = clipped(judge.examinations(held) * surer, LEAST)
    return np.where(expected_examinations(held, judge, LEAST) > 0, examined, 0.0)


def discounts(queries: IntArray, scores: FloatArray) -> FloatArray:
    """(pairs,): 1 / log2(1 + rank) within the query, 0 below DEPTH; equal scores share theirs."""
    order = np.lexsort([-scores, queries])
    starts = np.r_[True, np.diff(queries[order]) != 0]
    places = np.arange(len(order))
    rank = places - places[starts][np.cumsum(starts) - 1]
    values = np.where(rank < DEPTH, 1 / np.log2(2 + rank), 0.0)
    tied = np.cumsum(starts | np.r_[True, np.diff(scores[order]) != 0]) - 1
    means = totals(tied, values, len(order)) / np.maximum(np.bincount(tied, minlength=len(tied)), 1)
    found = np.empty(len(order))
    found[order] = means[tied]
    return found


def _gain(ours: Sequence[FloatArray], theirs: Sequence[FloatArray]) -> Gain:
    """The error of a ratio over queries, and the spread over judges."""
    each = [float(a.sum() / max(b.sum(), 1e-9)) - 1 for a, b in zip(ours, theirs, strict=True)]
    mean_ours, mean_theirs = np.mean(ours, axis=0), np.mean(theirs, axis=0)
    queries = int(np.sum(mean_theirs > 0))
    if queries < 2:
        return Gain(0.0, math.inf, queries)
    share = float(np.mean(each))
    around = mean_ours - (1 + share) * mean_theirs
    of_queries = math.sqrt(float(np.sum(around**2))) / float(mean_theirs.sum())
    return Gain(share, math.hypot(of_queries, float(np.std(each))), queries)
