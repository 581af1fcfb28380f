"""How a log showed its documents: examination by rank, what each document could expect of it, and
how much it attracts then. What `off_policy` divides clicks by, and corrects them with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.clicks.log import UNSHOWN, ClickLog, FloatArray, IntArray
from training.propensity.base import Relevances


@dataclass(frozen=True, slots=True, eq=False)
class Examination:
    """P(click | rank, document) = examined[rank] * attraction + noise[rank].

    Both (ranks,), as long as the longest ranking of log and policy.
    """

    examined: FloatArray
    noise: FloatArray

    @staticmethod
    def of(propensities: FloatArray) -> Examination:
        """Without noise: the position-based model."""
        return Examination(np.asarray(propensities, np.float64), np.zeros(len(propensities)))


@dataclass(frozen=True, slots=True, eq=False)
class PairValues:
    """A value for each of some (query, document) pairs. `ids` rises; both (pairs,)."""

    ids: IntArray
    values: FloatArray

    def at(self, ids: IntArray, otherwise: float) -> FloatArray:
        """The values of `ids`, in any shape; `otherwise` where there is none."""
        if not len(self.ids):
            return np.full(ids.shape, otherwise)
        places = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        return np.where(self.ids[places] == ids, self.values[places], otherwise)


def expected_examination(log: ClickLog, examination: Examination) -> PairValues:
    """e(q, d): the examination of a document per impression of its query.

    Swaps of exploration count with their probability, not as they fell: that has less variance.
    Where rankings vary otherwise (sampled, or changed over time), the log's own mix is the policy.
    """
    documents = log.unswapped()
    ids = np.where(log.shown, log.queries[:, None] * len(log.document_names) + documents, UNSHOWN)
    each = _by_design(log, examination) * log.weights[:, None]
    totals = np.bincount(log.queries, log.weights, minlength=int(log.queries.max(initial=0)) + 1)
    known, place = np.unique(ids[log.shown], return_inverse=True)
    sums = np.bincount(place, each[log.shown], minlength=len(known))
    return PairValues(known, sums / totals[known // max(len(log.document_names), 1)])


def _by_design(log: ClickLog, examination: Examination) -> FloatArray:
    """(impressions, ranks): what the document ranked there before exploration could expect."""
    at_rank = examination.examined[: log.ranks]
    chance = log.swap_probabilities[:, None]
    below = np.append(log.shown[:, 1:], np.zeros((log.impressions, 1), bool), axis=1)
    down = np.where(below, np.append(at_rank[1:], 0.0) - at_rank, 0.0)
    up = np.append(0.0, at_rank[:-1] - at_rank[1:])
    expected: FloatArray = at_rank + chance * (down + up)
    return expected


def attraction_of(log: ClickLog, examination: Examination, prior: float = 10.0) -> Relevances:
    """R(q, d) by clicks over expected examinations, drawn towards the log's mean.

    `prior` is how many examinations the mean counts for. For `doubly_robust` take another part of
    the log than the one that is estimated on, else its clicks are counted twice; a fitted click
    model's relevances do as well.
    """
    rows = np.where(log.shown, log.weights[:, None], 0.0)
    clicks = rows * (log.clicks - examination.noise[: log.ranks])
    examined = rows * examination.examined[: log.ranks]
    mean = float(np.clip(clicks.sum() / max(examined.sum(), 1e-12), 0.0, 1.0))
    known, place = np.unique(log.pair_ids[log.shown], return_inverse=True)
    sums = [
        np.bincount(place, each[log.shown], minlength=len(known)) for each in (clicks, examined)
    ]
    values = (sums[0] + prior * mean) / (sums[1] + prior)
    return Relevances(known, np.clip(values, 0.0, 1.0), mean)
