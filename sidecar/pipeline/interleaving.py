"""Team-draft interleaving: one ranking of two, and whose each hit is.

Radlinski, Kurup, Joachims, "How Does Clickthrough Data Reflect Retrieval Quality?" (CIKM 2008),
section 4: in each round a coin decides which of the two picks first; each picks its best hit that
is not in the ranking yet. A click is a credit of the team that picked the hit.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence

from sidecar.types import Hit, Ranking


def team_draft(one: Ranking, other: Ranking, source: random.Random) -> Ranking:
    """`one` with the hits of both in turn, and `teams` saying whose ranking (`variant`) each is
    from; degraded if either is."""
    hits: list[Hit] = []
    teams: list[str] = []
    for hit, team in _picks(one, other, source):
        hits.append(dataclasses.replace(hit, rank=len(hits) + 1))
        teams.append(team)
    degraded = one.degraded or other.degraded
    return dataclasses.replace(
        one,
        hits=tuple(hits),
        teams=tuple(teams),
        degraded=degraded,
        canary_stages=other.stages,
    )


def _picks(one: Ranking, other: Ranking, source: random.Random) -> Iterator[tuple[Hit, str]]:
    """Hits in the order in which they are picked, each once."""
    left = {ranking.variant: _unpicked(ranking.hits) for ranking in (one, other)}
    picked: set[str] = set()
    while True:
        order = [one.variant, other.variant]
        if source.random() < 0.5:
            order.reverse()
        before = len(picked)
        for team in order:
            hit = next((hit for hit in left[team] if hit.doc_id not in picked), None)
            if hit is not None:
                picked.add(hit.doc_id)
                yield hit, team
        if len(picked) == before:
            return


def _unpicked(hits: Sequence[Hit]) -> Iterator[Hit]:
    """An iterator that goes on where it was left; what it passed over was picked by the other."""
    return iter(hits)
