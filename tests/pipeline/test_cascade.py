"""The rerank stages of one request: what runs, what is left out, and what the answer says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sidecar.config import LanguageConfig, RerankerConfig
from sidecar.errors import ModelError, OverloadedError
from sidecar.models.contract import ModelContract
from sidecar.pipeline.cascade import Cascade, Standing
from sidecar.pipeline.deadline import Deadline
from sidecar.rerank.reranker import PairScore
from sidecar.types import (
    Hit,
    HitState,
    Ranking,
    RankingOptions,
    Stage,
    StageReason,
    StageState,
    UnscoredReason,
)


class ScriptedReranker:
    """Scores a passage by the number in it; `failure` is raised instead, `hold` awaited first."""

    def __init__(self, stage: Stage, depth: int = 10, languages: tuple[str, ...] = ()) -> None:
        self.stage = stage
        self.config = RerankerConfig(model=f"scripted-{stage.name}", depth=depth)
        self.contract = ModelContract(self.config.model, "cross-encoder", "r1", languages=languages)
        self.weight = 1.0
        self.failure: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.read: list[Sequence[str]] = []

    async def score(self, query: str, passages: Sequence[str]) -> list[PairScore]:
        self.read.append(passages)
        if self.hold is not None:
            await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        return [_pair(passage) for passage in passages]


def _pair(passage: str) -> PairScore:
    if passage == "nan":
        return PairScore(None, 3, False, UnscoredReason.NOT_FINITE)
    return PairScore(float(passage), 3, False, UnscoredReason.NONE)


PASSAGES = {"a": "1", "b": "2", "c": "3", "d": "4"}


def standing() -> Standing:
    hits = tuple(Hit(d, r, Stage.FUSED, 1 / r) for r, d in enumerate(PASSAGES, start=1))
    return Standing(Stage.FUSED, hits, ())


class ScriptedDeadline:
    """Gives each stage its own time, however slow the machine is."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = iter(seconds)

    def has_passed(self) -> bool:
        return False

    def remaining(self) -> float:
        return next(self.seconds)


async def run(
    first: ScriptedReranker | None,
    second: ScriptedReranker | None,
    options: RankingOptions | None = None,
    query: str = "a query",
    deadline: Deadline | ScriptedDeadline | None = None,
    passages: dict[str, str] = PASSAGES,
) -> list[Ranking]:
    async def passages_of(doc_ids: Sequence[str]) -> dict[str, str]:
        return {doc_id: passages[doc_id] for doc_id in doc_ids if doc_id in passages}

    cascade = Cascade(first, second, LanguageConfig())  # type: ignore[arg-type]
    rankings = cascade.run(
        query,
        options or RankingOptions(),
        standing(),
        passages_of,
        deadline or Deadline.after(600.0),  # type: ignore[arg-type]
    )
    return [ranking async for ranking in rankings]


def two(first_depth: int = 10, second_depth: int = 2) -> tuple[ScriptedReranker, ScriptedReranker]:
    return (
        ScriptedReranker(Stage.FIRST_RERANK, first_depth),
        ScriptedReranker(Stage.SECOND_RERANK, second_depth),
    )


def ids(ranking: Ranking) -> list[str]:
    return [hit.doc_id for hit in ranking.hits]


def reasons(ranking: Ranking) -> dict[Stage, StageReason]:
    return {report.stage: report.reason for report in ranking.stages}


async def test_one_ranking_for_each_stage_and_the_last_is_final():
    rankings = await run(*two())
    assert [r.stage for r in rankings] == [Stage.FUSED, Stage.FIRST_RERANK, Stage.SECOND_RERANK]
    assert [r.revision for r in rankings] == [1, 2, 3]
    assert [r.final for r in rankings] == [False, False, True]
    assert [ids(r) for r in rankings] == [list("abcd"), list("dcba"), list("dcba")]
    assert not any(r.degraded for r in rankings)


async def test_the_second_stage_reads_the_head_of_the_first():
    first, second = two()
    await run(first, second)
    assert second.read == [["4", "3"]]


async def test_hits_beyond_the_depth_say_so():
    final = (await run(*two()))[-1]
    assert [hit.state for hit in final.hits] == [HitState.SCORED] * 2 + [HitState.UNSCORED] * 2
    assert final.hits[3].unscored_reason is UnscoredReason.BEYOND_DEPTH
    assert [hit.stage for hit in final.hits[1:3]] == [Stage.SECOND_RERANK, Stage.FIRST_RERANK]


async def test_a_request_may_end_at_an_earlier_stage():
    rankings = await run(*two(), RankingOptions(last_stage=Stage.FIRST_RERANK))
    assert [r.stage for r in rankings] == [Stage.FUSED, Stage.FIRST_RERANK]
    assert reasons(rankings[-1])[Stage.SECOND_RERANK] is StageReason.NOT_REQUESTED
    assert rankings[-1].final
    assert not rankings[-1].degraded


async def test_a_depth_of_zero_skips_the_stage():
    rankings = await run(*two(), RankingOptions(first_rerank_depth=0))
    assert [r.stage for r in rankings] == [Stage.FUSED, Stage.SECOND_RERANK]
    assert ids(rankings[-1]) == list("bacd")


async def test_without_rerankers_the_first_ranking_is_final():
    (only,) = await run(None, None)
    assert only.final
    assert not only.degraded
    assert set(reasons(only).values()) == {StageReason.NOT_CONFIGURED}


async def test_a_failing_first_stage_leaves_the_order_and_the_second_runs():
    first, second = two()
    first.failure = ModelError("it broke")
    rankings = await run(first, second)
    assert [r.stage for r in rankings] == [Stage.FUSED, Stage.SECOND_RERANK]
    assert second.read == [["1", "2"]]
    report = rankings[-1].stages[0]
    assert (report.state, report.reason) == (StageState.FAILED, StageReason.MODEL_FAILED)
    assert "it broke" in report.detail
    assert rankings[-1].degraded


async def test_a_full_queue_is_told_apart_from_a_failing_model():
    first, second = two()
    first.failure = OverloadedError("4,096 pairs wait", retry_seconds=1.0)
    final = (await run(first, second))[-1]
    assert final.stages[0].reason is StageReason.OVERLOADED
    assert final.degraded


async def test_a_failing_last_stage_ends_with_the_earlier_order_sent_as_final():
    first, second = two()
    second.failure = ModelError("it broke")
    rankings = await run(first, second)
    assert [(r.stage, r.final) for r in rankings[1:]] == [
        (Stage.FIRST_RERANK, False),
        (Stage.FIRST_RERANK, True),
    ]
    assert ids(rankings[1]) == ids(rankings[2])
    assert [r.revision for r in rankings] == [1, 2, 3]
    assert rankings[-1].degraded


async def test_a_stalled_stage_is_cut_at_the_deadline():
    first, second = two()
    second.hold = asyncio.Event()
    final = (await run(first, second, deadline=ScriptedDeadline(600.0, 0.01)))[-1]
    assert final.stage is Stage.FIRST_RERANK
    assert final.degraded
    assert reasons(final)[Stage.SECOND_RERANK] is StageReason.DEADLINE


async def test_no_stage_starts_after_the_deadline():
    first, second = two()
    (_, final) = await run(first, second, deadline=Deadline.after(0.0))
    assert first.read == second.read == []
    assert reasons(final) == {
        Stage.FIRST_RERANK: StageReason.DEADLINE,
        Stage.SECOND_RERANK: StageReason.DEADLINE,
    }


async def test_a_model_that_does_not_serve_the_language_is_skipped():
    first, second = two()
    first = ScriptedReranker(Stage.FIRST_RERANK, languages=("en",))
    rankings = await run(first, second, query="三江汇流是哪三江")
    assert first.read == []
    report = rankings[-1].stages[0]
    assert report.reason is StageReason.LANGUAGE_NOT_SERVED
    assert "zh" in report.detail
    assert rankings[-1].stage is Stage.SECOND_RERANK
    assert rankings[-1].degraded


async def test_a_stated_language_overrules_the_detected_one():
    first, second = two()
    first = ScriptedReranker(Stage.FIRST_RERANK, languages=("en",))
    await run(first, second, RankingOptions(language="en"), query="三江")
    assert first.read


async def test_one_bad_pair_is_unscored_and_the_stage_complete():
    passages = PASSAGES | {"b": "nan"}
    rankings = await run(*two(), passages=passages)
    assert ids(rankings[1]) == list("dcab")
    assert rankings[1].hits[3].unscored_reason is UnscoredReason.NOT_FINITE
    assert rankings[1].stages[0].state is StageState.COMPLETE
    assert rankings[1].stages[0].candidates_out == 3


async def test_a_stage_without_any_finite_score_failed():
    rankings = await run(*two(), passages=dict.fromkeys(PASSAGES, "nan"))
    assert [r.stage for r in rankings] == [Stage.FUSED, Stage.FUSED]
    assert rankings[-1].degraded
    assert rankings[-1].final


async def test_a_document_deleted_meanwhile_is_no_longer_ranked():
    passages = {doc_id: text for doc_id, text in PASSAGES.items() if doc_id != "c"}
    rankings = await run(*two(), passages=passages)
    assert ids(rankings[-1]) == list("dba")
    assert [hit.rank for hit in rankings[-1].hits] == [1, 2, 3]


async def test_cancelling_a_request_cancels_its_stage():
    first, second = two()
    first.hold = asyncio.Event()
    task = asyncio.create_task(run(first, second))
    while not first.read:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert second.read == []
