"""Clicks counted by (query, document) and rank: all that a model of position needs of a log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.clicks.log import BoolArray, ClickLog, FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """One row for each pair at each rank at which it was shown.

    `pair_ids` are those of the log; `pairs` are places in them.
    """

    pair_ids: IntArray  # (pairs,) ascending
    pairs: IntArray  # (cells,)
    ranks: IntArray  # (cells,) from 0
    impressions: FloatArray  # (cells,) > 0
    clicks: FloatArray  # (cells,)
    rank_count: int

    def by_pair(self, values: FloatArray) -> FloatArray:
        """(cells,) -> (pairs,): sums."""
        return totals(self.pairs, values, len(self.pair_ids))

    def by_rank(self, values: FloatArray) -> FloatArray:
        """(cells,) -> (ranks,): sums."""
        return totals(self.ranks, values, self.rank_count)

    def of_several_ranks(self) -> Cells:
        """Those of pairs that were seen at two ranks or more: others say nothing of position."""
        seen = np.bincount(self.pairs, minlength=len(self.pair_ids))
        return self.of_pairs(seen >= 2)

    def of_pairs(self, chosen: BoolArray) -> Cells:
        """Those of the pairs of a mask."""
        kept = chosen[self.pairs]
        place = np.cumsum(chosen) - 1
        return Cells(
            self.pair_ids[chosen],
            place[self.pairs[kept]],
            self.ranks[kept],
            self.impressions[kept],
            self.clicks[kept],
            self.rank_count,
        )

    def tables(self) -> tuple[FloatArray, FloatArray]:
        """(impressions, clicks), each (pairs, ranks), 0 where a pair was not shown."""
        shape = len(self.pair_ids), self.rank_count
        impressions, clicks = np.zeros(shape), np.zeros(shape)
        impressions[self.pairs, self.ranks] = self.impressions
        clicks[self.pairs, self.ranks] = self.clicks
        return impressions, clicks


def totals(places: IntArray, values: FloatArray, count: int) -> FloatArray:
    """(count,): the sum of the values of each place."""
    return np.bincount(places, values, minlength=count).astype(np.float64)


def count_cells(log: ClickLog, pair_ids: IntArray | None = None) -> Cells:
    """A log counted, impressions by their weights. `pair_ids` (impressions, ranks): what counts as
    the same pair, in place of the query and the document; negative ones are left out."""
    ids = log.pair_ids if pair_ids is None else pair_ids
    row, rank = np.nonzero(log.shown & (ids >= 0))
    keys = ids[row, rank] * log.ranks + rank
    found, place = np.unique(keys, return_inverse=True)
    weights = log.weights[row]
    impressions = totals(place, weights, len(found))
    clicks = totals(place, weights * log.clicks[row, rank], len(found))
    ids_found, pairs = np.unique(found // max(log.ranks, 1), return_inverse=True)
    ranks = found % max(log.ranks, 1)
    kept = impressions > 0
    return Cells(ids_found, pairs[kept], ranks[kept], impressions[kept], clicks[kept], log.ranks)
