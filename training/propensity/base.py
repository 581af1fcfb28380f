"""What every estimator of examination gives, and the model of clicks by position.

ClickLog -> Estimator.fit -> ClickModel -> examinations (for labels), click probabilities (for
perplexity). All arrays over ranks begin with rank 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from training.clicks.log import BoolArray, ClickLog, FloatArray, IntArray
from training.propensity.cells import Cells, count_cells

LEAST_PROPENSITY = 0.1
# Pseudo-impressions of the mean pair that every pair has been shown before it was shown.
PRIOR_IMPRESSIONS = 1.0
_ITERATIONS = 200


class ClickModel(Protocol):
    """A fitted model. `log` is any part of the log that it was fitted on, which shares its numbers;
    pairs that it has not seen are taken for the mean pair."""

    @property
    def name(self) -> str:
        """The estimator's."""

    @property
    def propensities(self) -> FloatArray:
        """(ranks,): the probability that a rank is examined over that of rank 1, a mean over the
        fitted log where it depends on what is shown above. NaN where the log says nothing."""

    def examinations(self, log: ClickLog) -> FloatArray:
        """(impressions, ranks): the probability that each shown rank is examined, before anything
        is clicked; 0 where nothing is shown."""

    def clicks_for_rank(self, log: ClickLog) -> FloatArray:
        """(impressions, ranks): the probability of a click on what is worth none, for its rank
        alone: what labels take off clicks. 0 but for trust bias."""

    def click_probabilities(self, log: ClickLog) -> FloatArray:
        """(impressions, ranks): of a click, before anything is clicked."""

    def conditional_click_probabilities(self, log: ClickLog) -> FloatArray:
        """(impressions, ranks): of a click, given the clicks of `log` on the ranks above."""


class Estimator(Protocol):
    """A way to learn a click model."""

    @property
    def name(self) -> str:
        """As the configuration calls it."""

    def fit(self, log: ClickLog) -> ClickModel:
        """Learns from a log, impressions counted by their weights. Deterministic."""


@dataclass(frozen=True, slots=True, eq=False)
class Relevances:
    """What a model learnt of each pair it has seen: the probability of a click once examined."""

    pair_ids: IntArray  # (pairs,) ascending
    values: FloatArray  # (pairs,)
    mean: float  # of a pair that was not seen

    def of(self, log: ClickLog) -> FloatArray:
        """(impressions, ranks)."""
        return self.lookup(log.pair_ids)

    def lookup(self, pair_ids: IntArray) -> FloatArray:
        """The shape of `pair_ids`."""
        if not len(self.pair_ids):
            return np.full(pair_ids.shape, self.mean)
        place = np.searchsorted(self.pair_ids, pair_ids).clip(max=len(self.pair_ids) - 1)
        known = self.pair_ids[place] == pair_ids
        return np.where(known, self.values[place], self.mean)


@dataclass(frozen=True, slots=True, eq=False)
class PositionModel:
    """Clicks that depend on the rank and the pair alone: P(C | k, d) = slope_k r_d + intercept_k.

    Without intercepts it is the position-based model, and the slope is the examination.
    """

    name: str
    slopes: FloatArray  # (ranks,)
    intercepts: FloatArray  # (ranks,)
    relevances: Relevances
    known: BoolArray  # (ranks,) whether the log says anything of the rank

    @property
    def propensities(self) -> FloatArray:
        """(ranks,): slopes over that of rank 1."""
        return np.where(self.known, self.slopes / max(self.slopes[0], 1e-12), np.nan)

    def examinations(self, log: ClickLog) -> FloatArray:
        """(impressions, ranks): the propensities, where something is shown."""
        return np.where(log.shown, fill_unknown(self.propensities), 0.0)

    def clicks_for_rank(self, log: ClickLog) -> FloatArray:
        """(impressions, ranks): the intercepts, where something is shown."""
        return np.where(log.shown, self.intercepts, 0.0)

    def click_probabilities(self, log: ClickLog) -> FloatArray:
        """(impressions, ranks)."""
        probabilities = self.slopes * self.relevances.of(log) + self.intercepts
        return np.where(log.shown, probabilities, 0.0)

    def conditional_click_probabilities(self, log: ClickLog) -> FloatArray:
        """(impressions, ranks): the same; what is clicked above does not matter."""
        return self.click_probabilities(log)


def position_model(name: str, log: ClickLog, propensities: FloatArray) -> PositionModel:
    """The position-based model with given propensities (ranks,), NaN for unknown ones, and the
    relevances that a log then speaks for."""
    known = np.isfinite(propensities)
    filled = fill_unknown(propensities)
    # Relevances are probabilities, so the highest examination is 1.
    slopes = filled / filled.max(initial=1.0)
    zeros = np.zeros(log.ranks)
    relevances = fit_relevances(count_cells(log), slopes, zeros)
    return PositionModel(name, slopes, zeros, relevances, known)


def fill_unknown(propensities: FloatArray) -> FloatArray:
    """Unknown ones (NaN) as the nearest known rank above them, 1 at the top."""
    known = np.isfinite(propensities)
    nearest = np.maximum.accumulate(np.where(known, np.arange(len(known)), -1))
    return np.where(nearest >= 0, propensities[nearest], 1.0)


def clipped(examinations: FloatArray, least: float = LEAST_PROPENSITY) -> FloatArray:
    """Those above 0 raised to `least`, so that a click is weighed by 1 / least at most (the
    variance of inverse propensities: Joachims, Swaminathan, Schnabel, WSDM 2017, section 4)."""
    return np.where(examinations > 0, np.maximum(examinations, least), 0.0)


def fit_relevances(
    cells: Cells, slopes: FloatArray, intercepts: FloatArray, prior: float = PRIOR_IMPRESSIONS
) -> Relevances:
    """The most likely relevance of each pair under fixed slopes and intercepts (ranks,), after
    `prior` impressions at examination 1 of a pair of the mean relevance.

    EM over whether an impression was found relevant; with one rank it is (clicks + prior mean) /
    (impressions slope + prior) but for the loss at 0 and 1.
    """
    slope, intercept = slopes[cells.ranks], intercepts[cells.ranks]
    mean = _mean_relevance(cells, slope, intercept)
    values = np.full(len(cells.pair_ids), mean)
    misses = cells.impressions - cells.clicks
    total = cells.by_pair(cells.impressions) + prior
    for _ in range(_ITERATIONS):
        hit, missed = chances_of_relevance(values[cells.pairs], slope, intercept)
        found = cells.by_pair(cells.clicks * hit + misses * missed) + prior * mean
        before, values = values, found / total
        if np.abs(values - before).max(initial=0.0) < 1e-6:
            break
    return Relevances(cells.pair_ids, values, mean)


def chances_of_relevance(
    relevance: FloatArray, slope: FloatArray, intercept: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """P(R | click), P(R | no click) where P(C | R) = slope + intercept, P(C | no R) = intercept."""
    relevant, irrelevant = slope + intercept, intercept
    click = relevance * relevant + (1 - relevance) * irrelevant
    return (
        relevance * relevant / np.maximum(click, 1e-12),
        relevance * (1 - relevant) / np.maximum(1 - click, 1e-12),
    )


def _mean_relevance(cells: Cells, slope: FloatArray, intercept: FloatArray) -> float:
    """Clicks beyond the intercept over examinations."""
    beyond = float(np.sum(cells.clicks - cells.impressions * intercept))
    examined = float(np.sum(cells.impressions * slope))
    return float(np.clip(beyond / examined, 1e-4, 1 - 1e-4)) if examined > 0 else 0.5
