"""Fusion: the rankings of the two legs joined into one, once, over the whole.

Every function here is pure. A leg may be empty, hold one candidate, or give all the same score;
what happens then is part of each docstring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sidecar.config import FusionConfig
from sidecar.errors import ConfigurationError
from sidecar.recall.base import Recalled


def fuse(
    lexical: Sequence[Recalled], dense: Sequence[Recalled], config: FusionConfig
) -> list[Recalled]:
    """Both legs (best first, ids unique) as one ranking, best first, ties by doc_id.

    Two empty legs give an empty ranking; one empty leg gives the other's order.
    """
    legs = ((lexical, config.lexical_weight), (dense, config.dense_weight))
    if config.method == "rrf":
        return _ranked(reciprocal_rank_scores(legs, config.rrf_k))
    if config.method == "convex":
        return _ranked(convex_scores(legs))
    raise ConfigurationError(f"fusion.method is {config.method!r}: give rrf or convex")


def reciprocal_rank_scores(
    legs: Sequence[tuple[Sequence[Recalled], float]], k: float
) -> dict[str, float]:
    """Weighted reciprocal rank fusion: score(d) = sum over legs of weight / (k + rank(d)).

    Ranks count from 1; a leg without d adds nothing. Scores of the legs are not read, so a leg of
    one candidate or of equal scores needs no special case.
    Cormack, Clarke, Buettcher, SIGIR 2009 (k = 60).
    """
    scores: dict[str, float] = {}
    for leg, weight in legs:
        for rank, recalled in enumerate(leg, start=1):
            scores[recalled.doc_id] = scores.get(recalled.doc_id, 0.0) + weight / (k + rank)
    return scores


def convex_scores(legs: Sequence[tuple[Sequence[Recalled], float]]) -> dict[str, float]:
    """Convex combination: score(d) = sum of weight * min_max(leg)(d) / sum of weights.

    A leg without d adds 0, the value of that leg's last candidate. If all weights are 0, all scores
    are 0. Bruch, Gai, Ingber, TOIS 2023 (arXiv 2210.11934).
    """
    total = sum(weight for _, weight in legs) or 1.0
    scores: dict[str, float] = {}
    for leg, weight in legs:
        for doc_id, value in min_max(leg).items():
            scores[doc_id] = scores.get(doc_id, 0.0) + weight * value / total
    return scores


def min_max(leg: Sequence[Recalled]) -> Mapping[str, float]:
    """Scores moved to 0..1: (score - least) / (greatest - least).

    One candidate, or all of equal score: 1.0 each, so that a leg's only find is not thrown away.
    An empty leg: empty.
    """
    if not leg:
        return {}
    least = min(recalled.score for recalled in leg)
    spread = max(recalled.score for recalled in leg) - least
    if spread == 0.0:
        return {recalled.doc_id: 1.0 for recalled in leg}
    return {recalled.doc_id: (recalled.score - least) / spread for recalled in leg}


def _ranked(scores: Mapping[str, float]) -> list[Recalled]:
    ordered = sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))
    return [Recalled(doc_id, score) for doc_id, score in ordered]
