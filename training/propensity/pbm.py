"""The position-based model: P(C | k, d) = p_k r_d, by expectation-maximisation.

    E:  P(E | no click) = p (1 - r) / (1 - p r),  P(R | no click) = r (1 - p) / (1 - p r)
    M:  p_k = (clicks at k + sum of P(E | no click) at k) / impressions at k,  r_d likewise

Sources: Craswell, Zoeter, Taylor, Ramsey (WSDM 2008) for the model; Wang, Golbandi, Bendersky,
Metzler, Najork, "Position Bias Estimation for Unbiased Learning to Rank in Personal Search" (WSDM
2018), section 4, for the updates. There a regression stands for r; here each pair has its own, so
no model of relevance can lean on the ranks. Only pairs that were seen at several ranks are used:
one that was seen at a single rank fits any p_k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.clicks.log import ClickLog, FloatArray
from training.propensity.base import PositionModel, position_model
from training.propensity.cells import Cells, count_cells
from training.propensity.em import EDGE, Fit, maximise
from training.propensity.halves import halved, without_bias


@dataclass(frozen=True, slots=True)
class PositionBasedEM:
    """Needs pairs that were shown at several ranks, and often: with a few impressions a pair, its
    own relevance soaks up what is the rank's."""

    name: str = "pbm"

    def fit(self, log: ClickLog) -> PositionModel:
        """Propensities from pairs of several ranks, then relevances of all."""
        whole, *halves = (
            fit_examinations(count_cells(part).of_several_ranks())[0]
            for part in (log, *halved(log))
        )
        return position_model(self.name, log, without_bias(whole, halves))


def fit_examinations(cells: Cells) -> tuple[FloatArray, Fit]:
    """(propensities (ranks,) relative to rank 1 and NaN where no cell is, the fit): the most likely
    examinations, relevances maximised along with them."""
    ranks = cells.rank_count
    fit = maximise(
        lambda parameters: _step(cells, parameters),
        lambda parameters: log_likelihood(cells, parameters[:ranks], parameters[ranks:]),
        _start(cells),
    )
    examined = cells.by_rank(cells.impressions) > 0
    first = fit.parameters[0] if examined[0] else np.nan
    return np.where(examined, fit.parameters[:ranks] / first, np.nan), fit


def log_likelihood(cells: Cells, examinations: FloatArray, relevances: FloatArray) -> float:
    """Of the clicks of cells, in nats."""
    click = examinations[cells.ranks] * relevances[cells.pairs]
    click = np.clip(click, EDGE**2, 1 - EDGE)
    misses = cells.impressions - cells.clicks
    return float(np.sum(cells.clicks * np.log(click) + misses * np.log1p(-click)))


def _start(cells: Cells) -> FloatArray:
    """Every rank and every pair as if the other did not matter, a little below 1."""
    at_rank = cells.by_rank(cells.clicks) / np.maximum(cells.by_rank(cells.impressions), 1e-12)
    of_pair = cells.by_pair(cells.clicks) / np.maximum(cells.by_pair(cells.impressions), 1e-12)
    share = at_rank / max(float(at_rank.max(initial=0.0)), 1e-12)
    start: FloatArray = np.clip(np.concatenate([share, of_pair]), 0.02, 0.9)
    return start


def _step(cells: Cells, parameters: FloatArray) -> FloatArray:
    ranks = cells.rank_count
    p, r = parameters[:ranks][cells.ranks], parameters[ranks:][cells.pairs]
    misses = (cells.impressions - cells.clicks) / np.maximum(1 - p * r, EDGE)
    examined = cells.by_rank(cells.clicks + misses * p * (1 - r))
    relevant = cells.by_pair(cells.clicks + misses * r * (1 - p))
    at_rank = np.maximum(cells.by_rank(cells.impressions), EDGE)
    of_pair = np.maximum(cells.by_pair(cells.impressions), EDGE)
    return np.concatenate([examined / at_rank, relevant / of_pair])
