"""What users' clicks say of two systems that they were not shown: off-policy estimates of a run.

clicks.npz of collect, propensity's files, the rankings of both -> `read_clicks_evidence` ->
`estimates` -> ClicksEstimates: values of both with intervals, their difference, and a sentence; or
a sentence that says why the log cannot tell.

What a ranking earns is the clicks that an impression of it gets: the sum over its ranks of the
examination of the rank and the attraction of the document (see `off_policy`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from training.clicks.log import UNSHOWN, ClickLog, IntArray
from training.clicks.store import read_clicks
from training.evaluation.exposure import Examination, attraction_of, expected_examination
from training.evaluation.off_policy import Estimate, difference, doubly_robust, snips
from training.propensity.base import fill_unknown
from training.propensity.chosen import ChosenEstimator, read_chosen
from training.propensity.estimators import LEARNT
from training.run_files import CLICKS_FILE

LEAST_IMPRESSIONS = 200
MOST_UNSUPPORTED = 0.2  # share of a ranking's weight on documents that the log never showed
ESTIMATORS = ("snips", "doubly_robust")
_BY_RANK = ("documents", "clicks", "dwell_seconds", "carts", "orders", "skips", "ratings")


@dataclass(frozen=True, slots=True, eq=False)
class ClicksEvidence:
    """Impressions of test queries, and how their ranks were examined. `depth`: ranks that the log
    identifies, from the first; `estimator`: as the configuration calls it."""

    log: ClickLog
    examination: Examination
    depth: int
    estimator: str


@dataclass(frozen=True, slots=True)
class ClicksEstimates:
    """`estimates`: estimator -> "production", "candidate", "difference" -> plain values; empty
    where the log cannot tell, and `sentence` says why."""

    sentence: str
    estimates: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    impressions: int = 0
    depth: int = 0


def read_clicks_evidence(
    collect: Path, propensity: Path, test_ids: set[str]
) -> ClicksEvidence | str:
    """Of the impressions of test queries; a sentence where there is nothing to estimate with.

    Raises InputFileError for files that are damaged.
    """
    if not (collect / CLICKS_FILE).exists():
        return "There is no click log, so nothing is known of what users would have clicked."
    chosen = read_chosen(propensity)
    if chosen.name == "none":
        return (
            "How likely each rank is looked at could not be told from the log (estimator none), so "
            "its clicks say nothing of rankings in another order."
        )
    log = read_clicks(collect / CLICKS_FILE)
    tested = np.array([name in test_ids for name in log.query_names], dtype=bool)[log.queries]
    if tested.sum() < LEAST_IMPRESSIONS:
        return (
            f"The log has {int(tested.sum())} impressions of test queries, fewer than "
            f"{LEAST_IMPRESSIONS}: its clicks say too little of another ranking."
        )
    depth = chosen.identified_ranks(log.ranks)
    if depth < 2:
        return (
            f"The log does not identify how likely ranks below the first are looked at (estimator "
            f"{chosen.name}), so its clicks say nothing of rankings in another order. Exploration "
            "(feedback.exploration_share) would change that."
        )
    examination = _examination(chosen, log.select(~tested), log.ranks)
    return ClicksEvidence(_cut(log.select(tested), depth), examination, depth, chosen.name)


def estimates(
    evidence: ClicksEvidence,
    production: Mapping[str, Sequence[str]],
    candidate: Mapping[str, Sequence[str]],
    seed: int = 0,
) -> ClicksEstimates:
    """Of the queries that both have rankings for (query id -> document ids, best first)."""
    log, both = _known_documents(evidence.log, (production, candidate), evidence.depth)
    ranked = np.array([name in production and name in candidate for name in log.query_names])
    log = log.select(ranked[log.queries])
    if log.impressions < LEAST_IMPRESSIONS:
        return ClicksEstimates(
            f"Only {log.impressions} impressions are of queries that were ranked."
        )
    found = {
        name: _pair(name, log, both, evidence.examination, evidence.depth, seed)
        for name in ESTIMATORS
    }
    told = {
        name: dict(zip(("production", "candidate", "difference"), map(_plain, three), strict=True))
        for name, three in found.items()
    }
    return ClicksEstimates(_sentence(told, log.impressions), told, log.impressions, evidence.depth)


def _pair(
    name: str,
    log: ClickLog,
    both: Sequence[IntArray],
    examination: Examination,
    depth: int,
    seed: int,
) -> tuple[Estimate, Estimate, Estimate]:
    """Production's estimate, the candidate's, and their difference."""
    if name == "snips":
        exposure = expected_examination(log, examination)
        weights = examination.examined[:depth]
        one, other = (snips(log, each, weights, examination, exposure) for each in both)
    else:
        one, other = (_cross_fitted(log, each, examination, depth, seed) for each in both)
    return one, other, difference(other, one)


def _cross_fitted(
    log: ClickLog, rankings: IntArray, examination: Examination, depth: int, seed: int
) -> Estimate:
    """Doubly robust on each half of the sessions, with attractions of the other half: a click that
    both made the model and corrects it would count twice (Chernozhukov et al., "Double/Debiased
    Machine Learning", 2018)."""
    weights = examination.examined[:depth]
    exposure = expected_examination(log, examination)
    parts, shares = [], []
    for rest, part in log.folds(2, seed):
        attraction = attraction_of(rest, examination)
        parts.append(doubly_robust(part, rankings, weights, examination, exposure, attraction))
        shares.append(float(part.weights.sum()))
    return _joined(parts, np.array(shares) / sum(shares))


def _joined(parts: Sequence[Estimate], shares: Any) -> Estimate:
    """The mean of estimates on parts of a log that have no session in common."""
    influence = np.concatenate(
        [share * part.influence for part, share in zip(parts, shares, strict=True)]
    )
    value = float(sum(share * part.value for part, share in zip(parts, shares, strict=True)))
    zero = dataclasses.replace(parts[0], value=0.0, influence=np.zeros(len(influence)))
    whole = dataclasses.replace(
        zero,
        value=value,
        impressions=sum(part.impressions for part in parts),
        effective_impressions=sum(part.effective_impressions for part in parts),
        unsupported=float(sum(s * part.unsupported for part, s in zip(parts, shares, strict=True))),
        influence=influence,
    )
    bounds = difference(whole, zero)
    return dataclasses.replace(whole, low=bounds.low, high=bounds.high)


def _known_documents(
    log: ClickLog, rankings: Sequence[Mapping[str, Sequence[str]]], depth: int
) -> tuple[ClickLog, list[IntArray]]:
    """The log with numbers for documents that it never showed, and the rankings by its numbers."""
    numbers = {name: number for number, name in enumerate(log.document_names)}
    for ranking in rankings:
        for query_id in log.query_names:
            for doc_id in ranking.get(query_id, ())[:depth]:
                numbers.setdefault(doc_id, len(numbers))
    tables = [np.full((len(log.query_names), depth), UNSHOWN, np.int64) for _ in rankings]
    for ranking, table in zip(rankings, tables, strict=True):
        for row, query_id in enumerate(log.query_names):
            found = [numbers[doc_id] for doc_id in ranking.get(query_id, ())[:depth]]
            table[row, : len(found)] = found
    return dataclasses.replace(log, document_names=tuple(numbers)), tables


def _cut(log: ClickLog, depth: int) -> ClickLog:
    """The log as if only its first `depth` ranks had been shown."""
    columns = {name: getattr(log, name)[:, :depth] for name in _BY_RANK}
    within = log.swapped_ranks < depth  # a swap with the first rank that is cut off was none
    return dataclasses.replace(log, swapped_ranks=np.where(within, log.swapped_ranks, 0), **columns)


def _examination(chosen: ChosenEstimator, rest: ClickLog, ranks: int) -> Examination:
    """By rank; with trust bias also the clicks that a rank earns by itself, fitted on the
    impressions of the other queries."""
    if chosen.name == "trust" and rest.impressions:
        model: Any = LEARNT["trust"].fit(rest)
        return Examination(model.slopes, model.intercepts)
    given = chosen.propensities()
    last = len(given) - 1
    return Examination.of(fill_unknown(given[np.minimum(np.arange(ranks), last)]))


def _plain(estimate: Estimate) -> dict[str, float]:
    return {
        name: round(float(getattr(estimate, name)), 6)
        for name in ("value", "low", "high", "effective_impressions", "unsupported")
    }


def _sentence(told: Mapping[str, Mapping[str, Mapping[str, float]]], impressions: int) -> str:
    change = told["doubly_robust"]["difference"]
    told_change = (
        f"{change['value']:+z.4f} clicks an impression ({change['low']:+z.4f} to "
        f"{change['high']:+z.4f}, doubly robust, {impressions} impressions)"
    )
    if change["low"] > 0:
        said = f"The clicks of test queries say that the candidate would earn more: {told_change}."
    elif change["high"] < 0:
        said = f"The clicks of test queries say that the candidate would earn less: {told_change}."
    else:
        said = f"The clicks of test queries do not tell the two apart: {told_change}."
    unsupported = told["snips"]["candidate"]["unsupported"]
    if unsupported > MOST_UNSUPPORTED:
        said += (
            f" {unsupported:.0%} of what the candidate ranks there, by weight, was never shown to "
            "anybody: of that the log says nothing."
        )
    return said
