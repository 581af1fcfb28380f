"""The rerank stages, one after the other, inside the deadline: the same for Search and Rerank.

An order and its reports so far -> a ranking for each stage that scores -> the final ranking. A
stage that is skipped or fails leaves the order as it is and says why in its report.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

from sidecar.config import LanguageConfig
from sidecar.errors import ModelError, OverloadedError
from sidecar.models.language import detect_language
from sidecar.pipeline.deadline import Deadline
from sidecar.pipeline.ordering import head_length, reorder
from sidecar.rerank.reranker import PairScore, Reranker
from sidecar.types import (
    Hit,
    Ranking,
    RankingOptions,
    Stage,
    StageReason,
    StageReport,
    StageState,
)

RERANK_STAGES = (Stage.FIRST_RERANK, Stage.SECOND_RERANK)

PassagesOf = Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """What is known before the next stage: the order and the reports of the stages so far."""

    stage: Stage
    hits: tuple[Hit, ...]
    reports: tuple[StageReport, ...]

    def with_report(self, report: StageReport) -> Standing:
        """The same order with one more report."""
        return dataclasses.replace(self, reports=(*self.reports, report))

    def to_ranking(self, revision: int, final: bool) -> Ranking:
        """The ranking as of now."""
        degraded = any(not report.reason.leaves_answer_whole for report in self.reports)
        return Ranking(revision, self.stage, final, degraded, self.hits, self.reports)


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedStage:
    """A rerank stage of one request: to be run with `reranker` on `depth` hits, or left out."""

    stage: Stage
    reranker: Reranker | None
    depth: int
    reason: StageReason = StageReason.NONE
    detail: str = ""


class Cascade:
    """Runs the rerank stages of requests."""

    def __init__(
        self, first: Reranker | None, second: Reranker | None, language: LanguageConfig
    ) -> None:
        self._rerankers = {Stage.FIRST_RERANK: first, Stage.SECOND_RERANK: second}
        self._language = language

    async def run(
        self,
        query: str,
        options: RankingOptions,
        start: Standing,
        passages_of: PassagesOf,
        deadline: Deadline,
    ) -> AsyncGenerator[Ranking]:
        """The ranking of `start`, then one for each stage that scores; the last is final."""
        plan = self.plan(query, options)
        standing, plan = _leave_out_head(start, plan)
        revision, sent_final = 1, not plan
        yield standing.to_ranking(revision, final=sent_final)
        if plan:
            depth = max(planned.depth for planned in plan)
            passages = await passages_of([hit.doc_id for hit in standing.hits[:depth]])
            standing = _without_missing(standing, depth, passages)
        while plan:
            before = standing
            standing = await self._run_stage(query, standing, plan[0], passages, deadline)
            standing, plan = _leave_out_head(standing, plan[1:])
            if standing.stage != before.stage:
                revision, sent_final = revision + 1, not plan
                yield standing.to_ranking(revision, final=sent_final)
        if not sent_final:
            yield standing.to_ranking(revision + 1, final=True)

    def plan(self, query: str, options: RankingOptions) -> tuple[PlannedStage, ...]:
        """What the request and the models' contracts allow, before anything has run."""
        language = options.language or detect_language(query)
        return tuple(self._planned(stage, options, language) for stage in RERANK_STAGES)

    def _planned(self, stage: Stage, options: RankingOptions, language: str) -> PlannedStage:
        reranker = self._rerankers[stage]
        if options.last_stage < stage:
            return _left_out(stage, StageReason.NOT_REQUESTED, "last_stage is before this stage")
        if reranker is None:
            return _left_out(stage, StageReason.NOT_CONFIGURED, "no model is configured")
        asked = (
            options.first_rerank_depth
            if stage is Stage.FIRST_RERANK
            else options.second_rerank_depth
        )
        depth = reranker.config.depth if asked is None else asked
        if depth == 0:
            return _left_out(stage, StageReason.NOT_REQUESTED, "its depth is 0")
        contract = reranker.contract
        if self._language.skip_unserved and not contract.serves(language):
            detail = f"{contract.name} serves {', '.join(contract.languages)}, not {language}"
            return _left_out(stage, StageReason.LANGUAGE_NOT_SERVED, detail)
        return PlannedStage(stage, reranker, depth)

    async def _run_stage(
        self,
        query: str,
        standing: Standing,
        planned: PlannedStage,
        passages: Mapping[str, str],
        deadline: Deadline,
    ) -> Standing:
        reranker = planned.reranker
        assert reranker is not None
        head = standing.hits[: head_length(standing.hits, planned.depth)]
        started = time.perf_counter()
        if not head:
            return standing.with_report(
                _skipped(planned.stage, StageReason.NO_CANDIDATES, "nothing to score")
            )
        if deadline.has_passed():
            return standing.with_report(
                _skipped(planned.stage, StageReason.DEADLINE, "no time was left for it")
            )
        texts = [passages.get(hit.doc_id, "") for hit in head]
        outcome = await _score(reranker, query, texts, deadline)
        report = _report(reranker, outcome, len(head), started)
        if isinstance(outcome, _Failure):
            return standing.with_report(report)
        hits = reorder(standing.hits, planned.stage, outcome, reranker.weight)
        return Standing(planned.stage, hits, (*standing.reports, report))


@dataclasses.dataclass(frozen=True, slots=True)
class _Failure:
    reason: StageReason
    detail: str


async def _score(
    reranker: Reranker, query: str, passages: Sequence[str], deadline: Deadline
) -> list[PairScore] | _Failure:
    try:
        async with asyncio.timeout(deadline.remaining()):
            scores = await reranker.score(query, passages)
    except TimeoutError:
        return _Failure(StageReason.DEADLINE, "it did not finish before the deadline")
    except ModelError as error:
        return _Failure(StageReason.MODEL_FAILED, error.message)
    except OverloadedError as error:
        return _Failure(StageReason.OVERLOADED, error.message)
    if all(pair.score is None for pair in scores):
        return _Failure(StageReason.MODEL_FAILED, "no pair got a finite score")
    return scores


def _report(
    reranker: Reranker, outcome: list[PairScore] | _Failure, candidates_in: int, started: float
) -> StageReport:
    failed = isinstance(outcome, _Failure)
    return StageReport(
        stage=reranker.stage,
        state=StageState.FAILED if failed else StageState.COMPLETE,
        reason=outcome.reason if isinstance(outcome, _Failure) else StageReason.NONE,
        detail=outcome.detail if isinstance(outcome, _Failure) else "",
        model=reranker.contract.name,
        model_revision=reranker.contract.revision,
        candidates_in=candidates_in,
        candidates_out=0
        if isinstance(outcome, _Failure)
        else sum(pair.score is not None for pair in outcome),
        elapsed_milliseconds=(time.perf_counter() - started) * 1000.0,
    )


def _left_out(stage: Stage, reason: StageReason, detail: str) -> PlannedStage:
    return PlannedStage(stage, None, 0, reason, detail)


def _skipped(stage: Stage, reason: StageReason, detail: str) -> StageReport:
    return StageReport(stage, StageState.SKIPPED, reason, detail)


def _leave_out_head(
    standing: Standing, plan: tuple[PlannedStage, ...]
) -> tuple[Standing, tuple[PlannedStage, ...]]:
    """Reports the planned stages that will not run, up to the first that will."""
    while plan and plan[0].reranker is None:
        left_out, plan = plan[0], plan[1:]
        standing = standing.with_report(_skipped(left_out.stage, left_out.reason, left_out.detail))
    return standing, plan


def _without_missing(standing: Standing, depth: int, passages: Mapping[str, str]) -> Standing:
    """The standing without the hits of the head whose documents were deleted meanwhile."""
    kept = [
        hit for index, hit in enumerate(standing.hits) if index >= depth or hit.doc_id in passages
    ]
    if len(kept) == len(standing.hits):
        return standing
    hits = tuple(dataclasses.replace(hit, rank=rank) for rank, hit in enumerate(kept, start=1))
    return dataclasses.replace(standing, hits=hits)
