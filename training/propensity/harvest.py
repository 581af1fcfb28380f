"""Intervention harvesting: ranks compared over the pairs that were shown at both of them.

For ranks k and k', S_kk' are the (query, document) pairs that were shown at both. A pair's click
rate at k over that at k' is p_k / p_k', however relevant it is; AllPairs takes all S together:

    max over p, r:  sum_{k != k'} c_k^kk' log(p_k r_kk') + n_k^kk' log(1 - p_k r_kk')

with c and n the sums over S_kk' of click rates and of their complements, and r_kk' = r_k'k the mean
relevance of S_kk'. Source: Agarwal, Zaitsev, Wang, Li, Najork, Joachims, "Estimating Position Bias
without Intrusive Interventions" (WSDM 2019), equations 4 to 8. There every pair counts the same;
here as w w' / (w + w') for w impressions at k and w' at k', the inverse of the variance of the
difference of its two rates: a weight that does not depend on clicks leaves the ratio as it is, and
pairs seen once do not drown those seen a thousand times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.clicks.log import ClickLog, FloatArray, IntArray
from training.propensity.base import PositionModel, position_model
from training.propensity.cells import Cells, count_cells
from training.propensity.pbm import fit_examinations


@dataclass(frozen=True, slots=True)
class InterventionHarvest:
    """Any reason for which a pair changes its rank will do, as long as it is not its relevance.

    `within_page`: only swaps that exploration made are compared, each within the ranking that was
    swapped: safe where rankings change with what users want (the season, the user), at the price
    of everything else that varies.
    """

    name: str = "harvest"
    within_page: bool = False

    def fit(self, log: ClickLog) -> PositionModel:
        """Propensities of AllPairs, then relevances under them."""
        return position_model(self.name, log, self.propensities(log))

    def propensities(self, log: ClickLog) -> FloatArray:
        """(ranks,): relative to rank 1, NaN for ranks that share no pair with another."""
        pair_ids = _ids_within_pages(log) if self.within_page else None
        return harvest(count_cells(log, pair_ids))


def harvest(cells: Cells) -> FloatArray:
    """AllPairs' propensities (ranks,) of counted clicks."""
    return fit_examinations(interventional_cells(cells))[0]


def interventional_cells(cells: Cells) -> Cells:
    """One pair for each S_kk', with what was done at k and at k': c and c + n."""
    impressions, clicks = cells.of_several_ranks().tables()
    rates = clicks / np.maximum(impressions, 1e-12)
    upper, lower = np.triu_indices(cells.rank_count, k=1)
    total, above, below = (np.zeros(len(upper)) for _ in range(3))
    for place, (k, other) in enumerate(zip(upper, lower, strict=True)):
        both = impressions[:, k] + impressions[:, other]
        weight = impressions[:, k] * impressions[:, other] / np.maximum(both, 1e-12)
        total[place] = weight.sum()
        above[place], below[place] = weight @ rates[:, k], weight @ rates[:, other]
    kept = np.flatnonzero(total > 0)
    order = np.arange(len(kept))
    return Cells(
        pair_ids=kept,
        pairs=np.concatenate([order, order]),
        ranks=np.concatenate([upper[kept], lower[kept]]),
        impressions=np.concatenate([total[kept], total[kept]]),
        clicks=np.concatenate([above[kept], below[kept]]),
        rank_count=cells.rank_count,
    )


def _ids_within_pages(log: ClickLog) -> IntArray:
    """(impressions, ranks): a number for each document of each ranking before its swap; -1 where no
    swap was drawn for."""
    pages = np.column_stack([log.queries, log.unswapped()])
    page = np.unique(pages, axis=0, return_inverse=True)[1].reshape(-1)
    ids = page[:, None] * len(log.document_names) + log.documents
    return np.where((log.swap_probabilities > 0)[:, None] & log.shown, ids, -1)
