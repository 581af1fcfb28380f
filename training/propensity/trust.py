"""Affine trust bias: users who look at a high rank click on it for its rank, too.

    P(C | k, d) = slope_k r_d + intercept_k

Sources: Agarwal, Wang, Li, Bendersky, Najork, "Addressing Trust Bias for Unbiased Learning-to-
Rank" (WWW 2019), equation 3, in which P(C | E, R, k) and P(E | k) only come as products, that is as
P(C | R, k) = slope_k + intercept_k and P(C | no R, k) = intercept_k; Vardasbi, Oosterhuis, de
Rijke, "When Inverse Propensity Scoring does not Work" (CIKM 2020), for the affine form and for the
correction of labels by it: (clicks - intercepts) / slopes.

Both fit it by EM with a regression for r, which takes rank for relevance where the two go together,
and a relevance of its own for each pair is learnt too badly from a few impressions. `moments.py`
does without either.

r can be scaled and shifted, and slopes and intercepts with it, and no click changes. The slopes
over that of rank 1, and which of two documents is more relevant, are the same in all of these, and
only they are claimed: `propensities` are those ratios.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.clicks.log import ClickLog, FloatArray
from training.propensity.base import PositionModel, fill_unknown, fit_relevances
from training.propensity.cells import Cells, count_cells
from training.propensity.moments import RankPairs, rank_pairs, slopes_of

# What the least and the most relevant pairs are taken for, by impressions: r is 0 below, 1 above.
_EXTREMES = 0.01, 0.999


@dataclass(frozen=True, slots=True)
class AffineTrustBias:
    """Asks for more of a log than the position-based model: pairs of different relevance at both of
    two ranks, each shown often."""

    name: str = "trust"

    def fit(self, log: ClickLog) -> PositionModel:
        """Slopes and intercepts from pairs of several ranks, then relevances of all."""
        cells = count_cells(log)
        pairs = rank_pairs(cells)
        found = slopes_of(pairs, _spreads(cells))
        known = np.isfinite(found)
        largest = max(float(np.nanmax(found, initial=0.0)), 1e-9)
        free = fill_unknown(found / largest).clip(min=1e-6)
        bounded, intercepts = _within_bounds(cells, free, intercepts_of(pairs, free))
        relevances = fit_relevances(cells, bounded, intercepts)
        return PositionModel(self.name, bounded, intercepts, relevances, known)


def intercepts_of(pairs: RankPairs, slopes: FloatArray) -> FloatArray:
    """(ranks,): the least ones up to a multiple of the slopes, from mean click rates: slope'
    mean_k - slope mean_k' = slope' intercept_k - slope intercept_k' for every pair of ranks."""
    a, b = slopes[pairs.upper], slopes[pairs.lower]
    weight = np.sqrt(pairs.weights / np.maximum(a**2 + b**2, 1e-12))
    matrix = np.zeros((len(a), len(slopes)))
    rows = np.arange(len(a))
    matrix[rows, pairs.upper], matrix[rows, pairs.lower] = weight * b, -weight * a
    right = weight * (b * pairs.means[:, 0] - a * pairs.means[:, 1])
    return np.linalg.lstsq(matrix, right, rcond=1e-9)[0].astype(np.float64)


def _spreads(cells: Cells) -> FloatArray:
    rate = cells.by_rank(cells.clicks) / np.maximum(cells.by_rank(cells.impressions), 1e-12)
    return np.sqrt(np.clip(rate * (1 - rate), 1e-6, None))


def _within_bounds(
    cells: Cells, slopes: FloatArray, intercepts: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The same model with r between 0 and 1 for all but the extreme pairs, and clicks too."""
    a, b = slopes[cells.ranks], intercepts[cells.ranks]
    examined = cells.by_pair(cells.impressions * a)
    r = cells.by_pair(cells.clicks - cells.impressions * b) / np.maximum(examined, 1e-12)
    low, high = _quantiles(r, examined) if len(r) else _EXTREMES
    stretched = slopes * max(high - low, 1e-6)
    moved = np.clip(intercepts + low * slopes, 0.0, 0.98)
    # One factor for all ranks: their ratios are what was learnt.
    return stretched * min(1.0, float(np.min((1 - moved) / stretched))), moved


def _quantiles(values: FloatArray, weights: FloatArray) -> tuple[float, float]:
    """Those of `_EXTREMES`."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / max(float(weights.sum()), 1e-12)
    places = np.searchsorted(share, _EXTREMES).clip(max=len(values) - 1)
    return float(values[order[places[0]]]), float(values[order[places[1]]])
