"""From what users did to grades: how relevant each document is to each query, and how sure that is.

An impression tells of a document that it was ordered, added to a cart, liked (a long stay, or the
last click), clicked, passed over (not clicked above a click), or nothing: what is below the last
click may never have been looked at, and is not held against it. The log as a whole tells how often
a document was clicked for each time that it was examined, which is what the propensities are for.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.clicks.log import NO_RATING, BoolArray, ClickLog, FloatArray, IntArray, lowest_rank
from training.propensity.base import ClickModel, clipped
from training.propensity.cells import totals

DAY_SECONDS = 86_400.0
_STRENGTHS = 1.0, 200.0


class Grade(enum.IntEnum):
    """What the best thing that users did with a document says of it."""

    UNKNOWN = -1  # never clicked, and never surely passed over: no negative
    PASSED_OVER = 0
    CLICKED = 1
    LIKED = 2
    ADDED_TO_CART = 3
    ORDERED = 4


@dataclass(frozen=True, slots=True)
class LabelRules:
    """How events become labels.

    A click is a like from `liked_dwell_seconds`, or if it is the last one of its impression and the
    stay is not known. A document is passed over if that happened `least_skips` times and no click.
    Pairs with fewer than `least_impressions` get no label, unless they were ordered, put in a cart
    or rated. Impressions lose half of their weight every `half_life_days` (None: never). Relevances
    are shrunk as by `prior_examinations` examinations more (None: as many as the log itself tells,
    `learnt_strength`); propensities are at least `least_propensity`.
    """

    liked_dwell_seconds: float = 30.0
    least_skips: float = 1.0
    least_impressions: float = 2.0
    half_life_days: float | None = 90.0
    prior_examinations: float | None = None
    least_propensity: float = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """One row a (query, document) pair, by query and document."""

    queries: IntArray  # (pairs,) places in the log's query_names
    documents: IntArray  # (pairs,) places in its document_names
    grades: IntArray  # (pairs,) Grade
    relevances: FloatArray  # (pairs,) 0 to 1: clicks over expected examinations, shrunk
    gains: FloatArray  # (pairs,) 0 to 4: relevances times the mean grade of their clicks, shrunk
    weights: FloatArray  # (pairs,) 0 to 1: the share of the relevance that was seen, not assumed
    impressions: FloatArray  # (pairs,) decayed, as all counts here
    examinations: FloatArray  # (pairs,) expected
    clicks: FloatArray  # (pairs,)
    skips: FloatArray  # (pairs,) passed over
    rated: BoolArray  # (pairs,) somebody judged it, and the grade is what they said

    @property
    def negatives(self) -> BoolArray:
        """(pairs,): passed over and never clicked."""
        return np.equal(self.grades, Grade.PASSED_OVER)


def label(log: ClickLog, model: ClickModel, rules: LabelRules | None = None) -> Labels:
    """Labels of the pairs of a log, which is the model's or another part of the same one."""
    rules = rules or LabelRules()
    counts = _count(log, model, rules)
    strength = rules.prior_examinations
    if strength is None:
        strength = _learnt_strength(counts)
    relevances = (counts.beyond + strength * counts.prior) / (counts.examined + strength)
    relevances = relevances.clip(0.0, 1.0)
    kept = (counts.impressions >= rules.least_impressions) | counts.telling
    documents = max(len(log.document_names), 1)
    return Labels(
        queries=(counts.pair_ids // documents)[kept],
        documents=(counts.pair_ids % documents)[kept],
        grades=counts.grades[kept],
        relevances=relevances[kept],
        gains=(relevances * _mean_grades(counts, strength))[kept],
        weights=(counts.examined / (counts.examined + strength))[kept],
        impressions=counts.impressions[kept],
        examinations=counts.examined[kept],
        clicks=counts.clicks[kept],
        skips=counts.skips[kept],
        rated=counts.rated[kept],
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Counts:
    """(pairs,) each, decayed sums over impressions where it says no other."""

    pair_ids: IntArray
    impressions: FloatArray
    examined: FloatArray  # expected examinations
    clicks: FloatArray
    beyond: FloatArray  # clicks less those for the rank alone
    skips: FloatArray
    click_grades: FloatArray  # sum of the grades of clicks
    grades: IntArray  # the best
    telling: BoolArray  # put in a cart, ordered or rated: of which once is enough
    rated: BoolArray
    prior: FloatArray  # mean relevance of what is shown where the pair was
    noise: FloatArray  # variance of `beyond` if the prior held
    squares: FloatArray  # sum of squares of what `examined` is the sum of


def _count(log: ClickLog, model: ClickModel, rules: LabelRules) -> _Counts:
    row, column = np.nonzero(log.shown)
    pair_ids, pairs = np.unique(log.pair_ids[row, column], return_inverse=True)
    decayed = _decayed_weights(log, rules)[row]

    def per_pair(values: NDArray[Any], power: int = 1) -> FloatArray:
        """(impressions, ranks) -> (pairs,); variances take the weights' squares."""
        return totals(pairs, decayed**power * values[row, column], len(pair_ids))

    grades = impression_grades(log, rules)
    clicked = grades >= Grade.CLICKED
    examinations = expected_examinations(log, model, rules.least_propensity)
    unearned = np.where(examinations > 0, model.clicks_for_rank(log), 0.0)
    by_rank = relevance_by_rank(log, examinations, unearned)
    expected = (unearned + examinations * by_rank).clip(0.0, 1.0)
    examined, skips = per_pair(examinations), per_pair(grades == Grade.PASSED_OVER)
    best = _best_grades(grades[row, column], pairs, len(pair_ids), skips, rules.least_skips)
    best, rated = _with_ratings(best, log.ratings[row, column], pairs)
    return _Counts(
        pair_ids=pair_ids,
        impressions=per_pair(log.shown),
        examined=examined,
        clicks=per_pair(clicked),
        beyond=per_pair(clicked - unearned),
        skips=skips,
        click_grades=per_pair(np.where(clicked, grades, 0)),
        grades=best,
        telling=(best >= Grade.ADDED_TO_CART) | rated,
        rated=rated,
        prior=per_pair(examinations * by_rank) / np.maximum(examined, 1e-9),
        noise=per_pair(expected * (1 - expected), power=2),
        squares=per_pair(examinations**2, power=2),
    )


def impression_grades(log: ClickLog, rules: LabelRules) -> IntArray:
    """(impressions, ranks): a Grade for each shown document. Passed over is what was not clicked
    above the lowest click ("skip above": Joachims, Granka, Pan, Hembrooke, Gay, SIGIR 2005, section
    6), and what the user said to pass over; UNKNOWN is the rest."""
    ranks = np.arange(1, log.ranks + 1)
    above = log.shown & (ranks < lowest_rank(log.clicks)[:, None])
    is_last = ranks == log.last_clicked_ranks[:, None]
    liked = log.clicks & np.where(
        np.isnan(log.dwell_seconds), is_last, log.dwell_seconds >= rules.liked_dwell_seconds
    )
    # The first that holds counts.
    return np.select(
        [log.orders, log.carts, liked, log.clicks, above | log.skips],
        [*sorted(Grade, reverse=True)[:4], Grade.PASSED_OVER],
        Grade.UNKNOWN,
    ).astype(np.int64)


def expected_examinations(log: ClickLog, model: ClickModel, least: float) -> FloatArray:
    """(impressions, ranks): propensities of at least `least`, 0 where nothing is shown and below
    the last rank that was on the screen, as far as that is known."""
    ranks = np.arange(1, log.ranks + 1)
    last = np.maximum(log.viewed_ranks, lowest_rank(log.clicks))[:, None]
    on_screen = (log.viewed_ranks[:, None] == 0) | (ranks <= last)
    return np.where(on_screen, clipped(model.examinations(log), least), 0.0)


def relevance_by_rank(log: ClickLog, examinations: FloatArray, unearned: FloatArray) -> FloatArray:
    """(ranks,): the mean relevance of what is shown at each rank: clicks less unearned ones over
    examinations. It is the prior of labels: a ranker that knows something shows worse documents
    lower and seldom, and if these were taken for average, the few clicks that they get would lift
    them above what was shown often and did well."""
    clicks = log.weights @ (log.clicks - unearned)
    examined = log.weights @ examinations
    means: FloatArray = np.clip(clicks / np.maximum(examined, 1e-9), 0.0, 1.0)
    return means


def learnt_strength(
    prior: FloatArray,
    examined: FloatArray,
    squares: FloatArray,
    beyond: FloatArray,
    noise: FloatArray,
) -> float:
    """Of the Beta prior, in examinations: m (1 - m) / V - 1, V the variance of relevances around
    their prior means m. All are (pairs,).

    Clicks beyond those for the rank are off examined m by V (examined^2 - squares) + noise in the
    mean square, `squares` and `noise` the sums of e^2 and q (1 - q) over impressions with e
    examined and a click as likely as q under m; V follows from all pairs, each by 1 / examined.
    """
    weight = 1 / np.maximum(examined, 1e-9)
    off = (beyond - examined * prior) ** 2 - noise
    variance = float(weight @ off) / max(float(weight @ (examined**2 - squares)), 1e-9)
    mean = float(examined @ (prior * (1 - prior))) / max(float(examined.sum()), 1e-9)
    least, most = _STRENGTHS
    return min(max(mean / max(variance, 1e-9) - 1, least), most)


def _learnt_strength(counts: _Counts) -> float:
    return learnt_strength(
        counts.prior, counts.examined, counts.squares, counts.beyond, counts.noise
    )


def _decayed_weights(log: ClickLog, rules: LabelRules) -> FloatArray:
    """(impressions,)."""
    if rules.half_life_days is None or not log.impressions:
        return log.weights
    age_days = (log.times.max() - log.times) / DAY_SECONDS
    weights: FloatArray = log.weights * np.exp2(-age_days / rules.half_life_days)
    return weights


def _best_grades(
    grades: IntArray, pairs: IntArray, count: int, skips: FloatArray, least_skips: float
) -> IntArray:
    """(pairs,): the highest of each; passed over too seldom is not known."""
    best = np.full(count, int(Grade.UNKNOWN))
    np.maximum.at(best, pairs, grades)
    return np.where((best == Grade.PASSED_OVER) & (skips < least_skips), Grade.UNKNOWN, best)


def _with_ratings(best: IntArray, ratings: IntArray, pairs: IntArray) -> tuple[IntArray, BoolArray]:
    """Grades, and whether somebody judged the pair: judgments count before what was done."""
    given = ratings != NO_RATING
    count = totals(pairs[given], np.ones(int(given.sum())), len(best))
    total = totals(pairs[given], ratings[given].astype(np.float64), len(best))
    mean = np.rint(total / np.maximum(count, 1.0)).astype(np.int64)
    return np.where(count > 0, mean, best), count > 0


def _mean_grades(counts: _Counts, strength: float) -> FloatArray:
    """(pairs,): of a click, shrunk to the log's mean."""
    mean = float(counts.click_grades.sum() / max(float(counts.clicks.sum()), 1e-9))
    return (counts.click_grades + strength * mean) / (counts.clicks + strength)
