"""Which of two sets of labels orders documents better, told by clicks at one and the same rank.

Where documents a and b were both shown at rank k for one query, the better one is clicked more
often there, whatever the propensities are: they are the same for both. So clicks of other sessions
judge labels without any model of position,

    concordance = P(score of a clicked one > score of an unclicked one | same query, same rank)

ties counted as one half: the area under the ROC curve within each (query, rank). Swaps by
exploration give every log that has them such documents. The idea of comparing within a rank is that
of interventional sets (Agarwal et al., WSDM 2019, section 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from training.clicks.log import ClickLog, FloatArray, IntArray
from training.propensity.cells import Cells, count_cells, totals

# The normal distribution of a mean over fewer says little.
LEAST_QUERIES = 10


@dataclass(frozen=True, slots=True, eq=False)
class Concordance:
    """Of one set of scores on one log; rows are queries."""

    right: FloatArray  # (queries,) weight of the comparisons that agree
    compared: FloatArray  # (queries,) weight of all

    @property
    def mean(self) -> float:
        """0.5 where there is nothing to compare."""
        total = float(self.compared.sum())
        return float(self.right.sum()) / total if total > 0 else 0.5


@dataclass(frozen=True, slots=True)
class ConcordanceGain:
    """Scores against those of a baseline: the gain in concordance, and how likely a gain as large
    would be by chance if there were none (one-sided)."""

    gain: float
    error: float
    p: float
    queries: int


def concordance(log: ClickLog, scores: FloatArray, cells: Cells | None = None) -> Concordance:
    """`scores`: (pairs,) of `count_cells(log).pair_ids`. Within a (query, rank), comparisons weigh
    together as much as there are clicks and others, harmonically."""
    cells = cells or count_cells(log)
    query = cells.pair_ids[cells.pairs] // len(log.document_names)
    stratum = np.unique(query * cells.rank_count + cells.ranks, return_inverse=True)[1]
    order = np.lexsort([scores[cells.pairs], stratum])
    stratum, query = stratum[order], query[order]
    score, clicks = scores[cells.pairs][order], cells.clicks[order]
    misses = cells.impressions[order] - clicks
    below, equal = _below_and_equal(stratum, score, misses)
    count = int(stratum.max(initial=-1)) + 1
    # A document is not compared with itself.
    right = totals(stratum, clicks * (below + (equal - misses) / 2), count)
    all_misses = totals(stratum, misses, count)
    compared = totals(stratum, clicks * (all_misses[stratum] - misses), count)
    size = np.maximum(totals(stratum, clicks, count) + all_misses, 1e-12)
    query_of = np.zeros(count, dtype=np.int64)
    query_of[stratum] = query
    queries = len(log.query_names)
    return Concordance(
        totals(query_of, right / size, queries), totals(query_of, compared / size, queries)
    )


def compare(baseline: Concordance, other: Concordance) -> ConcordanceGain:
    """Of the same log. The error is that of a ratio over queries, which are drawn, not given; with
    fewer than `LEAST_QUERIES` that have anything to compare, nothing is concluded."""
    compared = baseline.compared
    total, queries = float(compared.sum()), int(np.sum(compared > 0))
    if queries < LEAST_QUERIES:
        return ConcordanceGain(0.0, math.inf, 1.0, queries)
    difference = other.right - baseline.right
    gain = float(difference.sum()) / total
    around = difference - gain * compared
    error = math.sqrt(queries / (queries - 1) * float(np.sum(around**2))) / total
    z = gain / error if error > 0 else 0.0
    return ConcordanceGain(gain, error, 0.5 * math.erfc(z / math.sqrt(2)), queries)


def _below_and_equal(
    stratum: IntArray, score: FloatArray, misses: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """For rows ordered by stratum and score: misses of lower scores in the stratum, and of equal
    ones, its own among them."""
    if not len(stratum):
        return misses, misses
    starts = np.r_[True, stratum[1:] != stratum[:-1]]
    new = starts | np.r_[True, score[1:] != score[:-1]]
    ahead = np.cumsum(misses) - misses
    group = np.cumsum(new) - 1
    in_group = totals(group, misses, int(group[-1]) + 1)
    before_group = ahead[np.flatnonzero(new)]
    before_stratum = ahead[np.flatnonzero(starts)][np.cumsum(starts) - 1]
    return before_group[group] - before_stratum, in_group[group]
