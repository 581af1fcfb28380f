"""Orders after each stage, against a brute-force reading of the rule and worked examples."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sidecar.pipeline.ordering import (
    head_length,
    hits_of_fusion,
    hits_of_input,
    leg_scores,
    reorder,
)
from sidecar.recall.base import Recalled
from sidecar.rerank.reranker import PairScore
from sidecar.types import Candidate, Hit, HitState, Stage, UnscoredReason


def fused_hits(scores: list[float]) -> tuple[Hit, ...]:
    return tuple(
        Hit(f"d{index}", index + 1, Stage.FUSED, score) for index, score in enumerate(scores)
    )


def pair(score: float | None, truncated: bool = False) -> PairScore:
    reason = UnscoredReason.NONE if score is not None else UnscoredReason.NOT_FINITE
    return PairScore(score=score, token_count=12, truncated=truncated, reason=reason)


def test_the_scored_head_is_sorted_by_the_weighted_z_scores():
    model, earlier, weight = [0.0, 3.0, 1.0], [0.9, 0.5, 0.1], 0.4
    expected = weight * (np.array(model) - np.mean(model)) / np.std(model) + (1 - weight) * (
        np.array(earlier) - np.mean(earlier)
    ) / np.std(earlier)
    hits = reorder(fused_hits(earlier), Stage.FIRST_RERANK, [pair(s) for s in model], weight)
    assert [hit.doc_id for hit in hits] == [f"d{i}" for i in np.argsort(-expected)]
    np.testing.assert_allclose([h.score for h in hits], sorted(expected, reverse=True), atol=1e-6)


def test_unscored_and_unread_hits_follow_in_the_earlier_order():
    scores = [pair(None), pair(1.0), pair(2.0)]
    hits = reorder(fused_hits([5, 4, 3, 2, 1]), Stage.FIRST_RERANK, scores, weight=1.0)
    assert [hit.doc_id for hit in hits] == ["d2", "d1", "d0", "d3", "d4"]
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert [hit.stage for hit in hits[:3]] == [Stage.FIRST_RERANK, Stage.FIRST_RERANK, Stage.FUSED]
    assert hits[2].unscored_reason is UnscoredReason.NOT_FINITE
    assert hits[3].unscored_reason is UnscoredReason.BEYOND_DEPTH
    assert hits[3].state is HitState.UNSCORED


def test_why_an_earlier_stage_could_not_score_a_hit_is_kept():
    first = reorder(fused_hits([3, 2, 1]), Stage.FIRST_RERANK, [pair(None), pair(1.0)], weight=1.0)
    second = reorder(first, Stage.SECOND_RERANK, [pair(1.0)], weight=1.0)
    assert [(hit.doc_id, hit.unscored_reason) for hit in second] == [
        ("d1", UnscoredReason.NONE),
        ("d0", UnscoredReason.NOT_FINITE),
        ("d2", UnscoredReason.BEYOND_DEPTH),
    ]


def test_a_cut_passage_is_said():
    hits = reorder(fused_hits([1.0, 0.5]), Stage.FIRST_RERANK, [pair(1.0, True), pair(0.5)], 1.0)
    assert [hit.state for hit in hits] == [HitState.TRUNCATED, HitState.SCORED]


def test_without_earlier_scores_the_model_decides_alone():
    candidates = [Candidate("a", "x"), Candidate("b", "y"), Candidate("c", "z")]
    scores = [pair(0.1), pair(0.1), pair(7.0)]
    hits = reorder(hits_of_input(candidates), Stage.FIRST_RERANK, scores, weight=0.2)
    assert [(hit.doc_id, hit.score) for hit in hits] == [("c", 7.0), ("a", 0.1), ("b", 0.1)]


def test_the_input_order_is_by_score_if_the_caller_sent_scores():
    scored = [Candidate("a", "", 1.0), Candidate("b", "", 3.0), Candidate("c", "", 1.0)]
    assert [hit.doc_id for hit in hits_of_input(scored)] == ["b", "a", "c"]
    unscored = [Candidate("z", ""), Candidate("a", "")]
    assert [hit.doc_id for hit in hits_of_input(unscored)] == ["z", "a"]


def test_a_stage_never_reads_across_a_border_of_earlier_stages():
    hits = reorder(fused_hits([3, 2, 1]), Stage.FIRST_RERANK, [pair(1.0), pair(2.0)], 1.0)
    assert head_length(hits, depth=3) == 2
    assert head_length(hits, depth=1) == 1
    assert head_length((), depth=5) == 0


def test_a_fused_hit_knows_its_rank_in_each_leg():
    lexical = [Recalled("a", 9.0), Recalled("b", 7.0)]
    dense = [Recalled("b", 0.8)]
    fused = [Recalled("b", 0.03), Recalled("a", 0.01)]
    first, second = hits_of_fusion(fused, leg_scores({Stage.DENSE: dense, Stage.LEXICAL: lexical}))
    assert [(s.stage, s.rank, s.score) for s in first.scores] == [
        (Stage.LEXICAL, 2, 7.0),
        (Stage.DENSE, 1, 0.8),
        (Stage.FUSED, 1, 0.03),
    ]
    assert [s.stage for s in second.scores] == [Stage.LEXICAL, Stage.FUSED]


@given(
    earlier=st.lists(st.floats(-5, 5), min_size=1, max_size=12),
    model=st.lists(st.one_of(st.none(), st.floats(-9, 9)), min_size=1, max_size=12),
    weight=st.floats(0, 1),
)
def test_a_reorder_neither_loses_nor_invents_a_hit(earlier, model, weight):
    hits = fused_hits(sorted(earlier, reverse=True))
    read = [pair(score) for score in model[: len(hits)]]
    after = reorder(hits, Stage.SECOND_RERANK, read, weight)
    assert sorted(hit.doc_id for hit in after) == sorted(hit.doc_id for hit in hits)
    assert [hit.rank for hit in after] == list(range(1, len(hits) + 1))
    scored = [hit for hit in after if hit.stage is Stage.SECOND_RERANK]
    assert list(after[: len(scored)]) == scored
    assert all(math.isfinite(hit.score) for hit in scored if hit.score is not None)
    values = [hit.score for hit in scored]
    assert values == sorted(values, reverse=True)
    rest = [int(hit.doc_id[1:]) for hit in after[len(scored) :]]
    assert rest == sorted(rest)
