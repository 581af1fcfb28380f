"""Stage runs from rankings that the test makes up: which ranking each stage is measured with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sidecar.config import Config
from sidecar.errors import StorageError
from sidecar.evaluation.beir import JudgedSet
from sidecar.evaluation.evaluate import evaluation_config, run_queries, to_report
from sidecar.recall.analyzer_choice import choose_analyzer
from sidecar.types import (
    Hit,
    Query,
    Ranking,
    Stage,
    StageReason,
    StageReport,
    StageScore,
    StageState,
)

JUDGED = JudgedSet("tiny", {"q1": "one", "q2": "zwei"}, {"q1": {"a": 1}, "q2": {"b": 2}})


def hits(order: str, lexical: str, dense: str) -> tuple[Hit, ...]:
    """Hits in `order`, with the ranks that they had in both legs."""
    legs = {Stage.LEXICAL: lexical, Stage.DENSE: dense}
    return tuple(
        Hit(
            doc_id,
            rank,
            Stage.FUSED,
            1.0,
            scores=tuple(
                StageScore(stage, leg.index(doc_id) + 1, 1.0)
                for stage, leg in legs.items()
                if doc_id in leg
            ),
        )
        for rank, doc_id in enumerate(order, start=1)
    )


class FakeSearcher:
    """ "one" passes all stages; "zwei" is in a language that only the lexical leg serves."""

    async def run(self, recaller, query: Query, deadline) -> AsyncIterator[Ranking]:
        if query.text == "one":
            reports = tuple(StageReport(s, StageState.COMPLETE, model="m") for s in Stage if s > 1)
            yield Ranking(1, Stage.FUSED, False, False, hits("bac", "ab", "bc"), reports[:3])
            yield Ranking(2, Stage.FIRST_RERANK, False, False, hits("abc", "ab", "bc"), reports[:4])
            yield Ranking(3, Stage.SECOND_RERANK, True, False, hits("acb", "ab", "bc"), reports)
        else:
            unserved = StageReason.LANGUAGE_NOT_SERVED
            skipped = tuple(
                StageReport(stage, StageState.SKIPPED, unserved)
                for stage in (Stage.DENSE, Stage.FIRST_RERANK, Stage.SECOND_RERANK)
            )
            yield Ranking(1, Stage.FUSED, False, True, hits("ba", "ba", ""), skipped[:1])
            yield Ranking(2, Stage.FUSED, True, True, hits("ba", "ba", ""), skipped)


async def test_each_stage_is_measured_with_its_own_ranking() -> None:
    runs = await run_queries(JUDGED, None, FakeSearcher())
    assert runs.rankings[Stage.LEXICAL] == {"q1": ["a", "b"], "q2": ["b", "a"]}
    assert runs.rankings[Stage.DENSE] == {"q1": ["b", "c"], "q2": []}
    assert runs.rankings[Stage.FUSED] == {"q1": ["b", "a", "c"], "q2": ["b", "a"]}
    assert runs.rankings[Stage.FIRST_RERANK] == {"q1": ["a", "b", "c"], "q2": ["b", "a"]}
    assert runs.rankings[Stage.SECOND_RERANK] == {"q1": ["a", "c", "b"], "q2": ["b", "a"]}
    assert runs.failed() == 0


async def test_the_report_begins_as_it_is_promised() -> None:
    counted = []
    runs = await run_queries(JUDGED, None, FakeSearcher(), lambda: counted.append(1))
    report = to_report(JUDGED, runs)
    assert len(counted) == 2
    assert list(report)[:3] == ["set", "queries", "stages"]
    assert list(report["stages"]) == ["lexical", "dense", "fused", "first_rerank", "second_rerank"]
    assert report["stages"]["fused"] == {"nDCG@10": 0.81546, "RR@10": 0.75, "R@100": 1.0}
    assert report["stages"]["dense"]["R@100"] == 0.0
    assert {entry["stage"]: entry["queries"] for entry in report["not_run"]} == {
        "dense": 1,
        "first_rerank": 1,
        "second_rerank": 1,
    }


class FailingSearcher:
    """Neither leg answers."""

    async def run(self, recaller, query: Query, deadline) -> AsyncIterator[Ranking]:
        raise StorageError("neither leg of recall could answer")
        yield


async def test_a_query_without_ranking_ends_the_evaluation_with_its_error() -> None:
    with pytest.raises(StorageError, match="neither leg"):
        await run_queries(JUDGED, None, FailingSearcher())


def test_fusion_keeps_all_that_the_legs_recall() -> None:
    recall = evaluation_config(Config()).recall
    assert recall.fused_depth == recall.lexical_depth + recall.dense_depth


def test_the_analyzer_follows_the_letters() -> None:
    assert choose_analyzer(["三江汇流是哪三江", "三星 TV", "abc", "123"]) == "chinese"
    assert choose_analyzer(["three rivers 三江"]) == "english"
    assert choose_analyzer([]) == "english"
