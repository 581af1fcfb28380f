"""How an order changes from stage to stage: pure functions from hits to hits.

Scores of different stages are never sorted together. A stage reorders the head that it scored; the
part of the head that got no score follows, then the rest, both in the earlier order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sidecar.recall.base import Recalled
from sidecar.rerank.combination import combine
from sidecar.rerank.reranker import PairScore
from sidecar.types import Candidate, Hit, HitState, Stage, StageScore, UnscoredReason

_UNREADABLE = (UnscoredReason.EMPTY_TEXT, UnscoredReason.TOO_LONG, UnscoredReason.NEEDS_TEXT)


def leg_scores(
    legs: Mapping[Stage, Sequence[Recalled]],
) -> dict[str, tuple[StageScore, ...]]:
    """The ranks and scores of every recalled document in the legs that recalled it."""
    scores: dict[str, tuple[StageScore, ...]] = {}
    for stage in sorted(legs):
        for rank, one in enumerate(legs[stage], start=1):
            scores[one.doc_id] = (*scores.get(one.doc_id, ()), StageScore(stage, rank, one.score))
    return scores


def hits_of_fusion(
    fused: Sequence[Recalled],
    earlier: Mapping[str, tuple[StageScore, ...]],
    factors: Mapping[str, float] | None = None,
) -> tuple[Hit, ...]:
    """The FUSED order, each hit with its scores in the earlier stages, and the factor that its
    fused score has in it, if any has."""
    hits = []
    for rank, one in enumerate(fused, start=1):
        scores = (*earlier.get(one.doc_id, ()), StageScore(Stage.FUSED, rank, one.score))
        factor = None if factors is None else factors[one.doc_id]
        hit = Hit(one.doc_id, rank, Stage.FUSED, one.score, scores=scores, boost_factor=factor)
        hits.append(hit)
    return tuple(hits)


def hits_of_input(candidates: Sequence[Candidate]) -> tuple[Hit, ...]:
    """The INPUT order: by the caller's score if it sent any, else as sent; ties as sent."""
    ordered = sorted(candidates, key=lambda c: -c.score if c.score is not None else 0.0)
    return tuple(
        Hit(
            candidate.doc_id,
            rank,
            Stage.INPUT,
            candidate.score,
            scores=(StageScore(Stage.INPUT, rank, candidate.score),),
        )
        for rank, candidate in enumerate(ordered, start=1)
    )


def head_length(hits: Sequence[Hit], depth: int) -> int:
    """How many hits a stage may score: at most `depth`, and only those of one earlier stage."""
    if not hits:
        return 0
    same_stage = next(
        (index for index, hit in enumerate(hits) if hit.stage != hits[0].stage), len(hits)
    )
    return min(depth, same_stage)


def reorder(
    hits: Sequence[Hit],
    stage: Stage,
    pair_scores: Sequence[PairScore],
    weight: float,
    wanted: int | None = None,
) -> tuple[Hit, ...]:
    """The order after a rerank stage that read the first `len(pair_scores)` hits of `wanted`.

    The time did not suffice for those between (None: there are none). The score of a hit is
    `weight` parts of the model's score and `1 - weight` parts of the earlier stage's (see
    rerank.combination); the model's alone where the earlier order has no scores.
    """
    head, rest = hits[: len(pair_scores)], hits[len(pair_scores) :]
    read = list(zip(head, pair_scores, strict=True))
    scored = [(hit, pair) for hit, pair in read if pair.score is not None]
    unscored = [(hit, pair) for hit, pair in read if pair.score is None]
    combined = _combined([hit for hit, _ in scored], [pair for _, pair in scored], weight)
    order = sorted(range(len(scored)), key=lambda index: -combined[index])
    new_head = [
        _scored_hit(*scored[index], stage, rank, combined[index])
        for rank, index in enumerate(order, start=1)
    ]
    new_rest = [_unread_hit(hit, pair) for hit, pair in unscored]
    missed = max(0, (wanted or 0) - len(head))
    new_rest += [_unscored_hit(hit, UnscoredReason.DEADLINE) for hit in rest[:missed]]
    new_rest += [_unscored_hit(hit, UnscoredReason.BEYOND_DEPTH) for hit in rest[missed:]]
    return ranked([*new_head, *new_rest])


def ranked(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """The hits with the ranks of their places."""
    return tuple(dataclasses.replace(hit, rank=rank) for rank, hit in enumerate(hits, start=1))


def mark_unread(hits: Sequence[Hit], pair_scores: Sequence[PairScore]) -> tuple[Hit, ...]:
    """The hits after a rerank stage that scored none of them: those that lack a text, or whose text
    is too long, say so; all else stands."""
    marked = [
        _unread_hit(hit, pair) if pair.reason in _UNREADABLE else hit
        for hit, pair in zip(hits, pair_scores, strict=False)
    ]
    return (*marked, *hits[len(pair_scores) :])


def _combined(hits: Sequence[Hit], pairs: Sequence[PairScore], weight: float) -> list[float]:
    model_scores = [pair.score for pair in pairs if pair.score is not None]
    earlier = [hit.score for hit in hits if hit.score is not None]
    if len(earlier) < len(hits):
        return model_scores
    return [float(score) for score in combine(model_scores, earlier, weight)]


def _scored_hit(hit: Hit, pair: PairScore, stage: Stage, rank: int, score: float) -> Hit:
    own = StageScore(stage, rank, score, pair.score)
    return dataclasses.replace(
        hit,
        stage=stage,
        score=score,
        state=HitState.TRUNCATED if pair.truncated else HitState.SCORED,
        unscored_reason=UnscoredReason.NONE,
        token_count=pair.token_count,
        truncated=pair.truncated,
        logit=pair.score,
        probability=pair.probability,
        scores=(*hit.scores, own),
    )


def _unread_hit(hit: Hit, pair: PairScore) -> Hit:
    if pair.token_count is not None:
        hit = dataclasses.replace(hit, token_count=pair.token_count, truncated=pair.truncated)
    return _unscored_hit(hit, pair.reason)


def _unscored_hit(hit: Hit, reason: UnscoredReason) -> Hit:
    """A hit that the stage did not read; one that already an earlier stage could not score keeps
    that reason, which is why it is not further up."""
    if hit.unscored_reason not in (UnscoredReason.NONE, UnscoredReason.BEYOND_DEPTH):
        reason = hit.unscored_reason
    return dataclasses.replace(hit, state=HitState.UNSCORED, unscored_reason=reason)
