"""The rerank stages, one after the other, inside the deadline: the same for Search and Rerank.

An order and its reports so far -> a ranking for each stage that scores -> the final ranking. A
stage that is skipped or fails leaves the order as it is, one that the time cut short reorders the
head that it read; the report says why.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

from sidecar.config import LanguageConfig, PlannerConfig
from sidecar.errors import ModelError, ModelUnavailableError, OverloadedError
from sidecar.pipeline.deadline import Deadline
from sidecar.pipeline.ordering import head_length, mark_unread, reorder
from sidecar.pipeline.planner import Work, split_time
from sidecar.pipeline.reading import Lack
from sidecar.pipeline.stage_outcome import Verdict, failed, of_lack, skipped, to_report
from sidecar.pipeline.stages import (
    Plan,
    PlannedStage,
    check_reach,
    leave_out_head,
    plan_stages,
)
from sidecar.pipeline.standing import Standing, check_minimum
from sidecar.rerank.reranker import Errand, Reranker, StageScores
from sidecar.types import Ranking, RankingOptions, Stage, StageReason, Truncation

WARM_UP_SECONDS = 5.0
FEWEST_MORE = 4  # candidates worth another round of a stage

_log = logging.getLogger(__name__)

Passages = Mapping[str, str | None]
PassagesOf = Callable[[Sequence[str]], Awaitable[Passages | Lack]]


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One request: what is asked, by whom, by when."""

    query: str
    options: RankingOptions
    caller: str
    deadline: Deadline


class Cascade:
    """Runs the rerank stages of requests."""

    def __init__(
        self,
        first: Reranker | None,
        second: Reranker | None,
        language: LanguageConfig,
        planner: PlannerConfig,
    ) -> None:
        self._rerankers = {Stage.FIRST_RERANK: first, Stage.SECOND_RERANK: second}
        self._language = language
        self._planner = planner

    async def warm_up(self) -> None:
        """Measures the pace of the models before the first request needs it.

        A model that fails or takes too long is left to its breaker: the stages before it serve.
        """
        for reranker in self._rerankers.values():
            if reranker is not None:
                await _warm_up(reranker)

    async def run(
        self, job: Job, start: Standing, passages_of: PassagesOf
    ) -> AsyncGenerator[Ranking]:
        """The ranking of `start`, then one for each stage that scores; the last is final.

        Rankings below the least stage that the request wants are left out. Raises
        InvalidFieldError where that stage cannot be reached at all, StageDeadlineError or
        StageUnavailableError where it was not.
        """
        revision = 0
        async for standing, final in self._standings(job, start, passages_of):
            if final:
                check_minimum(standing, job.options.minimum_stage)
            elif standing.stage < job.options.minimum_stage:
                continue
            revision += 1
            yield standing.to_ranking(revision, final)

    def seconds_asked(self, job: Job, passages: Sequence[str | None] | int) -> float:
        """The models' time that a request would take in full, at most what its deadline leaves.

        `passages` in order, or how many there will be.
        """
        seconds = sum(
            _seconds_asked(planned.reranker, job, passages, planned.depth)
            for planned in self._plan(job)
            if planned.reranker is not None
        )
        return min(seconds, max(0.0, job.deadline.remaining()))

    def _plan(self, job: Job) -> Plan:
        return plan_stages(self._rerankers, job.query, job.options, self._language)

    async def _standings(
        self, job: Job, start: Standing, passages_of: PassagesOf
    ) -> AsyncGenerator[tuple[Standing, bool]]:
        """Each standing that changed or confirmed the order, and whether it is the last."""
        standing, plan = leave_out_head(start, self._plan(job))
        check_reach(job.options.minimum_stage, standing, plan)
        sent_final = not plan
        yield standing, sent_final
        if plan:
            depth = max(planned.depth for planned in plan)
            passages = await passages_of([hit.doc_id for hit in standing.hits[:depth]])
            if not isinstance(passages, Lack):
                standing = standing.without_missing(depth, passages)
        while plan:
            before = standing
            standing = await self._run_stage(job, standing, plan, passages)
            standing, plan = leave_out_head(standing, plan[1:])
            if standing.stage != before.stage:
                sent_final = not plan
                yield standing, sent_final
        if not sent_final:
            yield standing, True

    async def _run_stage(
        self, job: Job, standing: Standing, plan: Sequence[PlannedStage], passages: Passages | Lack
    ) -> Standing:
        """The standing after the first stage of `plan`, which is to run."""
        started = time.perf_counter()
        stage, reranker = plan[0].stage, plan[0].reranker
        assert reranker is not None
        head = standing.hits[: head_length(standing.hits, plan[0].depth)]
        truncation = _truncation(reranker, job)
        if isinstance(passages, Lack):
            outcome: StageScores | Verdict = of_lack(passages)
        else:
            texts = [passages.get(hit.doc_id) for hit in head]
            outcome = await self._outcome(job, plan, texts, truncation)
        elapsed = time.perf_counter() - started
        report = to_report(reranker, outcome, len(head), elapsed, truncation)
        standing = standing.with_report(report)
        if isinstance(outcome, Verdict):
            return standing
        if report.candidates_out == 0:
            return dataclasses.replace(standing, hits=mark_unread(standing.hits, outcome.pairs))
        hits = reorder(standing.hits, stage, outcome.pairs, reranker.weight, len(head))
        return dataclasses.replace(standing, stage=stage, hits=hits)

    async def _outcome(
        self,
        job: Job,
        plan: Sequence[PlannedStage],
        texts: Sequence[str | None],
        truncation: Truncation,
    ) -> StageScores | Verdict:
        """The scores of as many texts, from the first, as fit; or why there are none."""
        _stage, reranker = plan[0].stage, plan[0].reranker
        assert reranker is not None
        if not texts:
            return skipped(StageReason.NO_CANDIDATES, "nothing to score")
        forecast = reranker.forecast(job.options.request_class, job.caller)
        if not forecast.available:
            return skipped(StageReason.MODEL_UNAVAILABLE, forecast.detail)
        count, kept = self._first_plan(job, plan, texts)
        if count == 0:
            return skipped(StageReason.DEADLINE, "no time was left for it")
        errand = Errand(
            deadline=job.deadline.end - kept,
            request_class=job.options.request_class,
            caller=job.caller,
            truncation=truncation,
            use_cache=job.options.use_cache,
        )
        settled = StageScores(())
        while count:
            done = len(settled.pairs)
            more = await _scored(reranker, job.query, texts[done : done + count], errand)
            if isinstance(more, Verdict):
                return _cut_short(settled, more) if done else more
            settled = _joined(settled, more)
            if len(more.pairs) < count:
                break
            count = _next_plan(job, reranker, texts[done + count :], kept)
        return settled

    def _first_plan(
        self, job: Job, plan: Sequence[PlannedStage], texts: Sequence[str | None]
    ) -> tuple[int, float]:
        """How many of the texts the first stage of `plan` may score, and the seconds that it must
        leave for the stage after it."""
        works = {
            planned.stage: work
            for planned in plan
            if planned.reranker is not None
            and (work := _work(job, planned.reranker, texts[: planned.depth])) is not None
        }
        first, second = works.get(Stage.FIRST_RERANK), works.get(Stage.SECOND_RERANK)
        split = split_time(first, second, job.deadline.remaining(), self._planner)
        if plan[0].stage is Stage.FIRST_RERANK:
            return split.first, split.second_seconds
        return split.second, 0.0


def _work(job: Job, reranker: Reranker, texts: Sequence[str | None]) -> Work | None:
    """What a reranker would have to do now; None if it is not to be had."""
    forecast = reranker.forecast(job.options.request_class, job.caller)
    if not forecast.available:
        return None
    tokens = reranker.estimate_tokens(job.query, texts, _truncation(reranker, job))
    return Work(tokens, forecast)


def _next_plan(
    job: Job, reranker: Reranker, texts: Sequence[str | None], kept_seconds: float
) -> int:
    """How many more texts fit, 0 where it is not worth another round: the pace that the plan was
    made with may have been too slow, or texts may have cost less than they seemed to."""
    work = _work(job, reranker, texts)
    count = 0 if work is None else work.fitting(job.deadline.remaining() - kept_seconds)
    return count if count >= min(FEWEST_MORE, len(texts)) else 0


async def _warm_up(reranker: Reranker) -> None:
    try:
        async with asyncio.timeout(WARM_UP_SECONDS):
            await reranker.warm_up()
    except (ModelError, TimeoutError) as error:
        _log.warning("%s could not be warmed up: %r", reranker.contract.name, error)


async def _scored(
    reranker: Reranker, query: str, texts: Sequence[str | None], errand: Errand
) -> StageScores | Verdict:
    try:
        return await reranker.score(query, texts, errand)
    except ModelUnavailableError as error:
        return failed(StageReason.MODEL_UNAVAILABLE, error.message)
    except ModelError as error:
        return failed(StageReason.MODEL_FAILED, error.message)
    except OverloadedError as error:
        return failed(StageReason.OVERLOADED, error.message)


def _joined(settled: StageScores, more: StageScores) -> StageScores:
    """One after the other."""
    queued = settled.queue_seconds if settled.pairs else more.queue_seconds
    return StageScores((*settled.pairs, *more.pairs), queued, more.reason, more.detail)


def _cut_short(settled: StageScores, why: Verdict) -> StageScores:
    """What was settled before the model failed."""
    return dataclasses.replace(settled, reason=why.reason, detail=why.detail)


def _truncation(reranker: Reranker, job: Job) -> Truncation:
    """The configured budgets, with what the request wants done beyond them."""
    wanted = job.options.long_passages
    if wanted is None:
        return reranker.truncation
    return dataclasses.replace(reranker.truncation, long_passages=wanted)


def _seconds_asked(
    reranker: Reranker, job: Job, passages: Sequence[str | None] | int, depth: int
) -> float:
    if isinstance(passages, int):
        tokens = round(reranker.mean_tokens * min(depth, passages))
    else:
        truncation = _truncation(reranker, job)
        tokens = sum(reranker.estimate_tokens(job.query, passages[:depth], truncation))
    return reranker.work_seconds(tokens)
