"""How click rates of the same pairs vary together at two ranks.

For ranks k and k' and the pairs S that were shown at both, with rates c_k(d) = slope_k r_d +
intercept_k + noise, the noise of one rank independent of that of the other:

    Cov_S(c_k, c_k') = slope_k slope_k' Var_S(r),  Var_S(c_k) - noise = slope_k^2 Var_S(r)

so that slopes follow up to one factor, whatever r and the intercepts are. The noise is binomial,
and its variance is estimated without bias by c (1 - c) / (n - 1): pairs need two impressions at
each of the ranks, and no more for the slopes to be right in the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.clicks.log import FloatArray, IntArray
from training.propensity.cells import Cells

_LEAST_PAIRS = 3
_ITERATIONS = 3000


@dataclass(frozen=True, slots=True, eq=False)
class RankPairs:
    """Moments of the pairs seen at rank `upper` and rank `lower` (from 0), one row a pair of ranks;
    precisions are inverse variances under no relevance at all."""

    upper: IntArray
    lower: IntArray
    means: FloatArray  # (rows, 2) click rates at upper, at lower
    variances: FloatArray  # (rows, 2) noise taken off
    covariances: FloatArray  # (rows,)
    variance_precisions: FloatArray  # (rows, 2)
    covariance_precisions: FloatArray  # (rows,)
    weights: FloatArray  # (rows,) impressions, of the means


def rank_pairs(cells: Cells) -> RankPairs:
    """Moments of all pairs of ranks that share three (query, document) pairs or more."""
    impressions, clicks = cells.of_several_ranks().tables()
    often = impressions >= 2
    rates = clicks / np.maximum(impressions, 1e-12)
    noise = rates * (1 - rates) / np.maximum(impressions - 1, 1.0)
    rows = []
    for k, other in zip(*np.triu_indices(cells.rank_count, k=1), strict=True):
        both = np.flatnonzero(often[:, k] & often[:, other])
        if len(both) >= _LEAST_PAIRS:
            ranks = [k, other]
            at = np.ix_(both, ranks)
            rows.append((k, other, *_moments(impressions[at], rates[at], noise[at])))
    table = np.array(rows, dtype=np.float64).reshape(-1, 11)
    return RankPairs(
        upper=table[:, 0].astype(np.int64),
        lower=table[:, 1].astype(np.int64),
        means=table[:, 2:4],
        variances=table[:, 4:6],
        covariances=table[:, 6],
        variance_precisions=table[:, 7:9],
        covariance_precisions=table[:, 9],
        weights=table[:, 10],
    )


def _moments(impressions: FloatArray, rates: FloatArray, noise: FloatArray) -> FloatArray:
    """(pairs, 2) each -> a row of `RankPairs` without its ranks."""
    weight = impressions.prod(axis=1) / impressions.sum(axis=1)
    total = weight.sum()
    means = weight @ rates / total
    around = rates - means
    variances = weight @ (around**2 - noise) / total
    covariance = weight @ around.prod(axis=1) / total
    variance_precisions = total**2 / (2 * weight**2 @ impressions**-2.0)
    covariance_precision = total**2 / (weight**2 @ (1 / impressions.prod(axis=1)))
    return np.array(
        [*means, *variances, covariance, *variance_precisions, covariance_precision, total]
    )


def slopes_of(pairs: RankPairs, spreads: FloatArray) -> FloatArray:
    """(ranks,): slopes up to a factor; NaN for a rank without a row.

    Least squares of the 2 x 2 moments against s_S slope slope', by turns in s_S and the slopes.
    `spreads` (ranks,): standard deviation of one click at each rank, by which noise is made even.
    """
    ranks = len(spreads)
    scale = np.stack([spreads[pairs.upper], spreads[pairs.lower]], axis=1)
    variances = pairs.variances / scale**2
    covariances = pairs.covariances / scale.prod(axis=1)
    weights, cross = pairs.variance_precisions, 2 * pairs.covariance_precisions
    ends = np.stack([pairs.upper, pairs.lower], axis=1)
    known = np.bincount(ends.ravel(), minlength=ranks) > 0
    slopes = np.where(known, spreads, 0.0)
    for _ in range(_ITERATIONS):
        a = slopes[ends]
        fit = (weights * variances * a**2).sum(1) + cross * covariances * a.prod(1)
        norm = (weights * a**4).sum(1) + cross * a.prod(1) ** 2
        shared = np.maximum(fit / np.maximum(norm, 1e-300), 0.0)[:, None]
        mixed = (cross * covariances)[:, None] * a[:, ::-1] / 2
        other = cross[:, None] * a[:, ::-1] ** 2 / 2
        above = np.bincount(
            ends.ravel(), (shared * (weights * variances * a + mixed)).ravel(), minlength=ranks
        )
        below = np.bincount(
            ends.ravel(), (shared**2 * (weights * a**2 + other)).ravel(), minlength=ranks
        )
        target = np.maximum(above, 0.0) / np.maximum(below, 1e-300)
        before, slopes = slopes, (slopes + target) / 2
        slopes = slopes / max(float(np.linalg.norm(slopes)), 1e-300)
        if np.abs(slopes - before).max(initial=0.0) < 1e-8:
            break
    return np.where(known, slopes * spreads, np.nan)
