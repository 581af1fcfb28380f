"""Propensities near a power law, p_k = k^-eta: what little a short log, or rare swaps, can tell.

A pair that was shown at ranks k and k' is clicked at k in p_k / (p_k + p_k') of its clicks, however
relevant it is. Over all (query, document) pairs S_kk' seen at both, counted as harvest.py does,

    log odds of a click at k = theta_k - theta_k',  theta_k = log p_k = -eta log k + delta_k

which is a logistic regression without an intercept (Bradley, Terry, Biometrika 1952), here with
normal priors: eta around 0, and each step of delta from one rank to the next around 0. One figure
learns from the clicks of all ranks, where a free propensity a rank multiplies the errors of all
ranks above it; on long logs the clicks overrule the priors, and what is left is `harvest`. Without
clicks eta is 0: no correction. The power law is that of Joachims, Swaminathan, Schnabel, "Unbiased
Learning-to-Rank with Biased Feedback" (WSDM 2017), section 6.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.clicks.log import ClickLog, FloatArray
from training.propensity.base import PositionModel, position_model
from training.propensity.cells import Cells, count_cells
from training.propensity.harvest import interventional_cells

_ITERATIONS = 100


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """Asks least of a log. `exponent_spread` and `step_spread` are the priors' standard deviations,
    of eta and of the logarithm of a propensity over that of the rank above it."""

    exponent_spread: float = 1.0
    step_spread: float = 0.05
    name: str = "power"

    def fit(self, log: ClickLog) -> PositionModel:
        """Propensities from pairs of several ranks, then relevances of all."""
        return position_model(self.name, log, self.propensities(log))

    def propensities(self, log: ClickLog) -> FloatArray:
        """(ranks,): relative to rank 1; NaN below it if no pair was shown at two ranks."""
        cells = interventional_cells(count_cells(log))
        if not len(cells.pairs) or log.ranks < 2:
            return np.where(np.arange(log.ranks) > 0, np.nan, 1.0)
        below = np.arange(1, log.ranks)
        # theta = basis @ (eta, steps of delta); theta of rank 1 is 0.
        basis = np.zeros((log.ranks, log.ranks))
        basis[:, 0] = -np.log(np.arange(1, log.ranks + 1))
        basis[1:, 1:] = below[:, None] >= below
        spreads = np.r_[self.exponent_spread, np.full(log.ranks - 1, self.step_spread)]
        fitted: FloatArray = np.exp(basis @ _most_likely(cells, basis, spreads**-2.0))
        return fitted


def _most_likely(cells: Cells, basis: FloatArray, precisions: FloatArray) -> FloatArray:
    """(parameters,): the mode under normal priors around 0, by Newton's method."""
    above, below = np.split(np.arange(len(cells.pairs)), 2)
    design = basis[cells.ranks[above]] - basis[cells.ranks[below]]
    clicks, total = cells.clicks[above], cells.clicks[above] + cells.clicks[below]
    found = np.zeros(len(precisions))
    for _ in range(_ITERATIONS):
        share = 1 / (1 + np.exp(-np.clip(design @ found, -30, 30)))
        slope = design.T @ (clicks - total * share) - precisions * found
        curve = (design * (total * share * (1 - share))[:, None]).T @ design + np.diag(precisions)
        step = np.linalg.solve(curve, slope)
        # The log-likelihood is concave; a step of 1 at most keeps Newton from overshooting.
        found = found + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-8:
            break
    return found
