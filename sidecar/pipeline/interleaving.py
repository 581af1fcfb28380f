"""Team-draft interleaving: one ranking of two, and whose each hit is.

Radlinski, Kurup, Joachims, "How Does Clickthrough Data Reflect Retrieval Quality?" (CIKM 2008),
section 4: in each round a coin decides which of the two picks first; each picks its best hit that
is not in the ranking yet. A click is a credit of the team that picked the hit. Where hits are
grouped, a team passes over those whose group has no place left.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence

from sidecar.pipeline.grouping import Places
from sidecar.types import Hit, Ranking


def team_draft(
    one: Ranking, other: Ranking, source: random.Random, per_group: int | None = None
) -> Ranking:
    """`one` with the hits of both in turn, and `teams` saying whose ranking (`variant`) each is
    from; degraded if either is. At most `per_group` hits of a group; None: hits are not grouped."""
    hits: list[Hit] = []
    teams: list[str] = []
    for hit, team in _picks(one, other, source, None if per_group is None else Places(per_group)):
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


def _picks(
    one: Ranking, other: Ranking, source: random.Random, places: Places | None
) -> Iterator[tuple[Hit, str]]:
    """Hits in the order in which they are picked, each once."""
    left = {ranking.variant: _unpicked(ranking.hits) for ranking in (one, other)}
    picked: set[str] = set()
    while True:
        order = [one.variant, other.variant]
        if source.random() < 0.5:
            order.reverse()
        before = len(picked)
        for team in order:
            hit = next((hit for hit in left[team] if _is_free(hit, picked, places)), None)
            if hit is not None:
                picked.add(hit.doc_id)
                if places is not None:
                    places.take(hit)
                yield hit, team
        if len(picked) == before:
            return


def _is_free(hit: Hit, picked: set[str], places: Places | None) -> bool:
    return hit.doc_id not in picked and (places is None or places.has(hit))


def _unpicked(hits: Sequence[Hit]) -> Iterator[Hit]:
    """An iterator that goes on where it was left; what it passed over was picked by the other, or
    has no place any more."""
    return iter(hits)
