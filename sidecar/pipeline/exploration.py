"""Swaps of neighbours in a few answers, so that the propensities of ranks can be learnt.

Where users examine rank r with probability p(r), a document gets clicks in proportion to p(r) at r
and to p(r + 1) when it is swapped down: pairs that were swapped at random tell the ratio of the two
without knowing how relevant the documents are (Joachims, Swaminathan, Schnabel, "Unbiased Learning-
to-Rank with Biased Feedback", WSDM 2017, section 5.3).
"""

from __future__ import annotations

import dataclasses
import random

from sidecar.types import Hit, Ranking


def explore(ranking: Ranking, top_k: int, share: float, source: random.Random) -> Ranking:
    """With probability `share` the ranking with one pair of neighbours among its first `top_k`
    swapped, each pair as likely; else the ranking as it is."""
    shown = min(top_k, len(ranking.hits))
    if shown < 2 or source.random() >= share:
        return ranking
    rank = source.randrange(1, shown)
    hits, teams = list(ranking.hits), list(ranking.teams)
    upper, lower = hits[rank - 1], hits[rank]
    hits[rank - 1], hits[rank] = _at(lower, rank), _at(upper, rank + 1)
    if teams:
        teams[rank - 1], teams[rank] = teams[rank], teams[rank - 1]
    return dataclasses.replace(ranking, hits=tuple(hits), teams=tuple(teams), swapped_rank=rank)


def _at(hit: Hit, rank: int) -> Hit:
    return dataclasses.replace(hit, rank=rank)
