"""What another ranking would have earned, told from a log of the ranking that was shown.

    examination by rank, how often each document was examined -> `snips` or `doubly_robust`
    -> an Estimate with its interval; `difference` of two estimates on one log, paired.

A click needs that the rank was examined and that the document attracts: with a(k) and b(k) the
examination and the noise of rank k and R(q, d) the attraction, P(click) = a(k) R(q, d) + b(k) (PBM
where b = 0; Vardasbi, Oosterhuis and de Rijke, CIKM 2020, with trust bias). What a ranking earns at
a query is the sum over its ranks r of w(r) R(q, d_r): `w = a` for clicks, 1 / log2(1 + r) for DCG.

A document is seen more often the higher the log's own ranking put it. So each click is divided by
e(q, d), the examination that the document could expect from the log (policy-aware: Oosterhuis and
de Rijke, SIGIR 2020), and not by that of the rank at which it happened to be clicked. What was
never shown has no e: SNIPS counts it as nothing, `unsupported` says how much of w that is, and a
doubly robust estimate takes its attraction from the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from training.clicks.log import UNSHOWN, ClickLog, FloatArray, IntArray
from training.evaluation.exposure import Examination, PairValues
from training.propensity.base import Relevances

LEAST_EXPOSURE = 0.01  # below it a single click would outweigh a hundred others


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What a policy earns per impression, and between which bounds.

    `unsupported`: the share of its rank weights on documents that the log never showed.
    `effective_impressions`: as many impressions of the policy itself would tell as much (Kish).
    `influence`: (sessions,), what each session moves the estimate by.
    """

    value: float
    low: float
    high: float
    impressions: int
    effective_impressions: float
    unsupported: float
    influence: FloatArray


def dcg_weights(depth: int) -> FloatArray:
    """(depth,): 1 / log2(1 + rank)."""
    weights: FloatArray = 1.0 / np.log2(np.arange(2, depth + 2))
    return weights


def snips(
    log: ClickLog,
    rankings: IntArray,
    weights: FloatArray,
    examination: Examination,
    exposure: PairValues,
    confidence: float = 0.95,
    least_exposure: float = LEAST_EXPOSURE,
) -> Estimate:
    """Self-normalised inverse propensity scoring.

        V = C * sum_i sum_k (c - b) w / e  /  sum_i sum_k a w / e,   C = mean_i sum_d w(q_i, d)

    over impressions i and shown ranks k. The second sum is what the first would be with every
    attraction 1, and expects C: that the log showed the policy's documents more or less often than
    expected cancels out (Swaminathan and Joachims, NeurIPS 2015, at the level of documents).

    `rankings`: (queries, depth) documents by the log's numbers, UNSHOWN after the last.
    `weights`: (depth,) w; `examination.examined[:depth]` for clicks (its noise is not counted).
    """
    terms = _terms(log, rankings, weights, examination, exposure, least_exposure)
    earned, full, scale = (
        _mean(log, each) for each in (terms.earned, terms.possible, terms.supported)
    )
    if full == 0.0:
        return _estimate(log, 0.0, np.zeros(log.impressions), terms, confidence)
    value = earned / full * scale
    influence = (
        (terms.earned - earned) * (scale / full)
        - (terms.possible - full) * (value / full)
        + (terms.supported - scale) * (earned / full)
    )
    return _estimate(log, value, influence, terms, confidence)


def doubly_robust(
    log: ClickLog,
    rankings: IntArray,
    weights: FloatArray,
    examination: Examination,
    exposure: PairValues,
    attraction: Relevances,
    confidence: float = 0.95,
    least_exposure: float = LEAST_EXPOSURE,
) -> Estimate:
    """The model's attractions, corrected by what the log saw of them.

        V = mean_i [ sum_d w(q_i, d) R(q_i, d) + sum_k w / e * (c - b - a R(q_i, d)) ]

    Right in expectation if the exposures are, and also if R is; the better R, the narrower. A
    document that `attraction` does not have gets its mean. Other arguments are those of `snips`.
    Source: Oosterhuis, "Doubly Robust Estimation for Correcting Position Bias in Click Feedback
    for Unbiased Learning to Rank", TOIS 41(3), 2023.
    """
    terms = _terms(log, rankings, weights, examination, exposure, least_exposure)
    target = _weights_by_pair(log, rankings, weights)
    modelled = _per_query(log, target.ids, target.values * attraction.lookup(target.ids))
    shown = terms.ratio * examination.examined[: log.ranks] * attraction.of(log)
    each = modelled[log.queries] + terms.earned - shown.sum(axis=1)
    value = _mean(log, each)
    return _estimate(log, value, each - value, terms, confidence)


def difference(candidate: Estimate, production: Estimate, confidence: float = 0.95) -> Estimate:
    """candidate - production, both estimated on the same log; narrower than the two intervals."""
    influence = candidate.influence - production.influence
    value = candidate.value - production.value
    half = _half_width(influence, confidence)
    return Estimate(
        value,
        value - half,
        value + half,
        candidate.impressions,
        min(candidate.effective_impressions, production.effective_impressions),
        max(candidate.unsupported, production.unsupported),
        influence,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Terms:
    """What both estimators sum: `ratio` (impressions, ranks), the others (impressions,)."""

    ratio: FloatArray  # w / e of what was shown
    earned: FloatArray  # sum_k ratio * (c - b)
    possible: FloatArray  # sum_k ratio * a
    supported: FloatArray  # sum_d w over documents with an exposure
    wanted: FloatArray  # sum_d w


def _terms(
    log: ClickLog,
    rankings: IntArray,
    weights: FloatArray,
    examination: Examination,
    exposure: PairValues,
    least_exposure: float,
) -> _Terms:
    _check(log, rankings, weights, examination)
    target = _weights_by_pair(log, rankings, weights)
    known = exposure.at(target.ids, 0.0) > 0
    seen = exposure.at(log.pair_ids, math.inf)
    ratio = target.at(log.pair_ids, 0.0) / np.maximum(seen, least_exposure)
    clicked = log.clicks - examination.noise[: log.ranks]
    return _Terms(
        ratio,
        (ratio * clicked).sum(axis=1),
        (ratio * examination.examined[: log.ranks]).sum(axis=1),
        _per_query(log, target.ids, target.values * known)[log.queries],
        _per_query(log, target.ids, target.values)[log.queries],
    )


def _weights_by_pair(log: ClickLog, rankings: IntArray, weights: FloatArray) -> PairValues:
    """w(q, d) of every pair that the policy ranks."""
    rows, ranks = np.nonzero(rankings != UNSHOWN)
    ids = rows * len(log.document_names) + rankings[rows, ranks]
    order = np.argsort(ids, kind="stable")
    return PairValues(ids[order], weights[ranks][order])


def _per_query(log: ClickLog, ids: IntArray, values: FloatArray) -> FloatArray:
    """(queries,): the values of a query's pairs, summed."""
    count = max(int(log.queries.max(initial=0)) + 1, len(log.query_names))
    rows = ids // max(len(log.document_names), 1)
    sums: FloatArray = np.bincount(rows, values, minlength=count).astype(np.float64)
    return sums


def _mean(log: ClickLog, each: FloatArray) -> float:
    return float(np.average(each, weights=log.weights))


def _estimate(
    log: ClickLog, value: float, influence: FloatArray, terms: _Terms, confidence: float
) -> Estimate:
    sessions = np.unique(log.sessions, return_inverse=True)[1]
    by_session = np.bincount(sessions, influence * log.weights) / log.weights.sum()
    half = _half_width(by_session, confidence)
    wanted = _mean(log, terms.wanted)
    possible = terms.possible * log.weights
    squares = float(np.square(possible).sum())
    return Estimate(
        value,
        value - half,
        value + half,
        log.impressions,
        float(possible.sum()) ** 2 / squares if squares else 0.0,
        1.0 - _mean(log, terms.supported) / wanted if wanted else 0.0,
        by_session,
    )


def _half_width(by_session: FloatArray, confidence: float) -> float:
    """Of a normal interval by the sum of squares of what each session moves the estimate by."""
    count = len(by_session)
    if count < 2:
        return math.inf
    variance = float(np.square(by_session).sum()) * count / (count - 1)
    return NormalDist().inv_cdf(0.5 + confidence / 2.0) * math.sqrt(variance)


def _check(
    log: ClickLog, rankings: IntArray, weights: FloatArray, examination: Examination
) -> None:
    if not log.impressions:
        raise ValueError("the log has no impressions: nothing can be estimated from it")
    if len(examination.examined) < log.ranks or len(examination.noise) < log.ranks:
        raise ValueError(
            f"the log has {log.ranks} ranks, the examination {len(examination.examined)}"
        )
    known = [examination.examined[: log.ranks], examination.noise[: log.ranks], weights]
    if not all(np.isfinite(each).all() for each in known):
        raise ValueError("the examination of a shown rank is not known: leave out the ranks below")
    if rankings.ndim != 2 or len(rankings) <= int(log.queries.max()):
        raise ValueError("rankings must have a row for every query of the log")
    if len(weights) < rankings.shape[1]:
        raise ValueError(f"{rankings.shape[1]} ranks have {len(weights)} weights")
    ordered = np.sort(rankings, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != UNSHOWN)).any():
        raise ValueError("rankings: a document is ranked twice")
