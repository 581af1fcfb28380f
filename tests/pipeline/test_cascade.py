"""The rerank stages of one request: what runs, what is left out, and what the answer says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from sidecar.config import LanguageConfig, PlannerConfig, RerankerConfig
from sidecar.errors import (
    InvalidFieldError,
    ModelError,
    ModelUnavailableError,
    OverloadedError,
    StageDeadlineError,
    StageUnavailableError,
)
from sidecar.models.contract import ModelContract
from sidecar.pipeline.cascade import Cascade, Job
from sidecar.pipeline.deadline import Deadline
from sidecar.pipeline.reading import Lack
from sidecar.pipeline.standing import Standing
from sidecar.rerank.reranker import Errand, PairScore, StageScores
from sidecar.types import (
    Hit,
    HitState,
    LongPassages,
    Ranking,
    RankingOptions,
    RequestClass,
    Stage,
    StageReason,
    StageState,
    Truncation,
    UnscoredReason,
)


class ScriptedForecast:
    """One second a token, after `wait`."""

    def __init__(self, wait: float, available: bool) -> None:
        self.wait, self.available, self.detail = wait, available, "it was not there lately"

    def seconds_for(self, tokens: int) -> float:
        return self.wait + tokens


class SpentDeadline:
    """A deadline that only scripted work brings nearer, by a second a passage."""

    def __init__(self, seconds: float) -> None:
        self.end, self._left = 1e9, seconds

    def remaining(self) -> float:
        return self._left

    def spend(self, seconds: float) -> None:
        self._left -= seconds


class ScriptedReranker:
    """Scores a passage, of one token, by the number in it.

    `failure` is raised instead, `hold` awaited first; only `settled` of the passages are settled in
    time. `errands` are what it was asked for.
    """

    def __init__(self, stage: Stage, depth: int = 10, languages: tuple[str, ...] = ()) -> None:
        self.stage = stage
        self.config = RerankerConfig(model=f"scripted-{stage.name}", depth=depth)
        self.truncation = self.config.to_truncation()
        self.contract = ModelContract(self.config.model, "cross-encoder", "r1", languages=languages)
        self.weight = 1.0
        self.failure: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.settled: int | None = None
        self.available = True
        self.wait = 0.0
        self.read: list[Sequence[str | None]] = []
        self.errands: list[Errand] = []
        self.mean_tokens = 1.0
        self.deadline: SpentDeadline | None = None

    def template_digest(self, truncation: Truncation) -> str:
        return f"digest-{truncation.long_passages}"

    def forecast(self, request_class: RequestClass, caller: str) -> ScriptedForecast:
        return ScriptedForecast(self.wait, self.available)

    def estimate_tokens(
        self, query: str, passages: Sequence[str | None], truncation: Truncation
    ) -> list[int]:
        in_chunks = truncation.long_passages is LongPassages.CHUNK_AND_MAX
        return [2 if in_chunks else 1] * len(passages)

    def work_seconds(self, tokens: int) -> float:
        return float(tokens)

    async def score(
        self, query: str, passages: Sequence[str | None], errand: Errand
    ) -> StageScores:
        self.read.append(passages)
        self.errands.append(errand)
        if self.hold is not None:
            await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        if self.deadline is not None:
            self.deadline.spend(len(passages))
        return StageScores(tuple(_pair(p) for p in passages[: self.settled]), 0.25)


def _pair(passage: str | None) -> PairScore:
    if passage is None:
        return PairScore(None, reason=UnscoredReason.NEEDS_TEXT)
    if passage == "nan":
        return PairScore(None, 3, False, UnscoredReason.NOT_FINITE)
    return PairScore(float(passage), 3, False, UnscoredReason.NONE)


PASSAGES = {"a": "1", "b": "2", "c": "3", "d": "4"}


def standing() -> Standing:
    hits = tuple(Hit(d, r, Stage.FUSED, 1 / r) for r, d in enumerate(PASSAGES, start=1))
    return Standing(Stage.FUSED, hits, ())


async def run(
    first: ScriptedReranker | None,
    second: ScriptedReranker | None,
    options: RankingOptions | None = None,
    query: str = "a query",
    deadline: Deadline | SpentDeadline | None = None,
    passages: Mapping[str, str | None] | Lack = PASSAGES,
    sent: list[Ranking] | None = None,
) -> list[Ranking]:
    """All rankings; `sent` gets them one by one, for those that come before an error."""

    async def passages_of(doc_ids: Sequence[str]) -> dict[str, str | None] | Lack:
        if isinstance(passages, Lack):
            return passages
        return {doc_id: passages[doc_id] for doc_id in doc_ids if doc_id in passages}

    cascade = Cascade(first, second, LanguageConfig(), PlannerConfig(fewest_second=1))  # type: ignore[arg-type]
    until = deadline or Deadline.after(600.0)
    job = Job(query, options or RankingOptions(), "shop", until)  # type: ignore[arg-type]
    rankings = [] if sent is None else sent
    async for ranking in cascade.run(job, standing(), passages_of):
        rankings.append(ranking)
    return rankings


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


async def test_a_stage_that_settles_nothing_in_time_leaves_the_order():
    first, second = two()
    second.settled = 0
    final = (await run(first, second))[-1]
    assert final.stage is Stage.FIRST_RERANK
    assert final.degraded
    report = final.stages[1]
    assert (report.state, report.reason) == (StageState.FAILED, StageReason.DEADLINE)
    assert [hit.state for hit in final.hits] == [HitState.SCORED] * 4


async def test_a_stage_that_settles_a_part_reorders_that_part():
    first, second = two(second_depth=4)
    second.settled = 2
    final = (await run(first, second))[-1]
    assert ids(final) == list("dcba")
    assert final.stage is Stage.SECOND_RERANK
    assert final.degraded
    report = final.stages[1]
    assert (report.state, report.reason) == (StageState.PARTIAL, StageReason.DEADLINE)
    assert (report.candidates_in, report.candidates_out) == (4, 2)
    assert "2 of 4" in report.detail
    assert [hit.unscored_reason for hit in final.hits[2:]] == [UnscoredReason.DEADLINE] * 2
    assert [hit.stage for hit in final.hits[2:]] == [Stage.FIRST_RERANK] * 2


async def test_a_stage_reads_what_fits_into_the_time():
    first, second = two()
    deadline = first.deadline = second.deadline = SpentDeadline(5.5)
    rankings = await run(first, second, deadline=deadline)
    assert first.read == [["1", "2", "3"]]  # 2 of 5.5 seconds are what the second needs
    assert second.read == [["3", "2"]]
    assert ids(rankings[1]) == list("cbad")
    assert rankings[1].stages[0].state is StageState.PARTIAL


async def test_the_first_stage_leaves_the_second_its_time():
    first, second = two()
    deadline = Deadline.after(100.0)
    await run(first, second, deadline=deadline)
    assert first.errands[0].deadline == pytest.approx(deadline.end - 2.0)
    assert second.errands[0].deadline == deadline.end


async def test_passages_read_in_chunks_are_planned_with_all_of_them():
    first, second = two()
    options = RankingOptions(
        last_stage=Stage.FIRST_RERANK, long_passages=LongPassages.CHUNK_AND_MAX
    )
    first.deadline = SpentDeadline(4.5)
    await run(first, second, options, deadline=first.deadline)
    assert first.read == [["1", "2"]]


async def test_a_model_that_is_not_there_is_not_asked():
    first, second = two()
    first.available = False
    final = (await run(first, second))[-1]
    assert first.read == []
    assert second.read == [["1", "2"]]
    report = final.stages[0]
    assert (report.state, report.reason) == (StageState.SKIPPED, StageReason.MODEL_UNAVAILABLE)
    assert report.detail == "it was not there lately"
    assert final.degraded


async def test_a_model_that_goes_away_is_told_apart_from_one_that_fails():
    first, second = two()
    second.failure = ModelUnavailableError("nobody answers")
    final = (await run(first, second))[-1]
    assert final.stages[1].reason is StageReason.MODEL_UNAVAILABLE
    assert final.stage is Stage.FIRST_RERANK


async def test_a_busy_second_model_is_left_out_where_its_wait_takes_the_time():
    first, second = two()
    second.wait = 50.0
    final = (await run(first, second, deadline=Deadline.after(20.0)))[-1]
    assert first.read == [["1", "2", "3", "4"]]
    assert second.read == []
    assert reasons(final)[Stage.SECOND_RERANK] is StageReason.DEADLINE


async def test_what_the_request_wants_of_long_passages_caches_and_shares_is_passed_on():
    first, second = two()
    options = RankingOptions(
        long_passages=LongPassages.REJECT, request_class=RequestClass.OFFLINE, use_cache=False
    )
    final = (await run(first, second, options))[-1]
    errand = first.errands[0]
    assert errand.truncation == Truncation(64, 256, LongPassages.REJECT, 4)
    assert (errand.request_class, errand.caller, errand.use_cache) == (
        RequestClass.OFFLINE,
        "shop",
        False,
    )
    assert final.stages[0].template_digest == "digest-reject"
    assert final.stages[0].queue_milliseconds == 250.0


async def test_a_candidate_without_its_text_says_so():
    first, second = two()
    rankings = await run(first, second, passages=PASSAGES | {"b": None})
    assert ids(rankings[1]) == list("dcab")
    assert rankings[1].hits[3].unscored_reason is UnscoredReason.NEEDS_TEXT


async def test_texts_that_all_lack_are_named_though_no_stage_is_reached():
    rankings = await run(*two(), passages=dict.fromkeys(PASSAGES))
    assert rankings[-1].stage is Stage.FUSED
    assert {hit.unscored_reason for hit in rankings[-1].hits} == {UnscoredReason.NEEDS_TEXT}
    assert reasons(rankings[-1])[Stage.FIRST_RERANK] is StageReason.NO_CANDIDATES


async def test_rankings_below_the_least_stage_are_not_sent():
    rankings = await run(*two(), RankingOptions(minimum_stage=Stage.FIRST_RERANK))
    assert [r.stage for r in rankings] == [Stage.FIRST_RERANK, Stage.SECOND_RERANK]
    assert [r.revision for r in rankings] == [1, 2]


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (ModelError("it broke"), StageUnavailableError),
        (ModelUnavailableError("nobody answers"), StageUnavailableError),
        (OverloadedError("its queue is full", 1.0), StageDeadlineError),
    ],
)
async def test_the_least_stage_not_reached_is_an_error_that_says_why(failure, raised):
    first, second = two()
    second.failure = failure
    sent: list[Ranking] = []
    with pytest.raises(raised, match=failure.message):
        await run(first, second, RankingOptions(minimum_stage=Stage.SECOND_RERANK), sent=sent)
    assert sent == []


async def test_the_least_stage_out_of_time_is_a_deadline_error():
    options = RankingOptions(minimum_stage=Stage.SECOND_RERANK)
    with pytest.raises(StageDeadlineError, match="SECOND_RERANK"):
        await run(*two(), options, deadline=Deadline.after(0.0))


async def test_what_takes_less_than_planned_leaves_time_for_more():
    first, second = two()

    def estimate(query: str, texts: Sequence[str | None], truncation: Truncation) -> list[int]:
        return [2] * len(texts)

    first.estimate_tokens = estimate  # type: ignore[method-assign]
    options = RankingOptions(last_stage=Stage.FIRST_RERANK)
    rankings = await run(first, second, options, deadline=Deadline.after(5.5))
    assert first.read == [["1", "2"], ["3", "4"]]
    assert rankings[-1].stages[0].state is StageState.COMPLETE
    assert ids(rankings[-1]) == list("dcba")


async def test_texts_that_all_lack_are_told_whatever_the_least_stage():
    options = RankingOptions(minimum_stage=Stage.FIRST_RERANK)
    (only,) = await run(*two(), options, passages=dict.fromkeys(PASSAGES))
    assert {hit.unscored_reason for hit in only.hits} == {UnscoredReason.NEEDS_TEXT}


async def test_a_least_stage_that_cannot_run_is_refused_before_any_work():
    first, _ = two()
    with pytest.raises(InvalidFieldError, match="no model is configured"):
        await run(first, None, RankingOptions(minimum_stage=Stage.SECOND_RERANK))
    assert first.read == []


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


@pytest.mark.parametrize(
    ("reason", "state", "error"),
    [
        (StageReason.DEADLINE, StageState.SKIPPED, StageDeadlineError),
        (StageReason.INDEX_UNAVAILABLE, StageState.FAILED, StageUnavailableError),
    ],
)
async def test_without_passages_the_order_stands_and_each_stage_says_why(reason, state, error):
    lack, stages = Lack(reason, "the passages were not read"), two()
    ranking = (await run(*stages, passages=lack))[-1]
    assert (ids(ranking), ranking.final, ranking.degraded) == (list("abcd"), True, True)
    assert {(r.reason, r.state, r.detail) for r in ranking.stages} == {(reason, state, lack.detail)}
    assert [stage.read for stage in stages] == [[], []]
    least = RankingOptions(minimum_stage=Stage.FIRST_RERANK)
    with pytest.raises(error, match="the passages were not read"):
        await run(*two(), least, passages=lack)
