"""Runs every query of a judged set through the search pipeline and measures each stage's ranking.

JudgedSet -> `run_queries` (the pipeline that serves, in this process) -> StageRuns -> `measure`.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sidecar.config import Config
from sidecar.evaluation.beir import JudgedSet
from sidecar.evaluation.measures import mean_measures
from sidecar.pipeline.deadline import Deadline
from sidecar.recall.base import Recaller
from sidecar.types import Hit, Query, Ranking, Stage, StageReason, StageReport, StageState

LEGS = (Stage.LEXICAL, Stage.DENSE)
LATER_STAGES = (Stage.FUSED, Stage.FIRST_RERANK, Stage.SECOND_RERANK)
STAGES = LEGS + LATER_STAGES
QUERIES_IN_FLIGHT = 4  # enough to keep a batch full while another query is recalled
QUERY_TIMEOUT_SECONDS = 600.0


class Searcher(Protocol):
    """The search pipeline, as far as evaluation knows it."""

    def run(
        self, recaller: Recaller, query: Query, deadline: Deadline
    ) -> AsyncIterator[Ranking]: ...


@dataclass(slots=True)
class StageRuns:
    """What the stages ranked: stage -> query id -> document ids, best first.

    A skipped or failed leg ranked nothing; a skipped or failed later stage has the ranking of the
    stage before it. `reports` holds the state, reason and detail of those, and counts queries.
    """

    rankings: dict[Stage, dict[str, list[str]]] = field(
        default_factory=lambda: {stage: {} for stage in STAGES}
    )
    reports: Counter[tuple[Stage, StageState, StageReason]] = field(default_factory=Counter)
    models: dict[Stage, str] = field(default_factory=dict)

    def failed(self) -> int:
        """Stages of single queries that failed or scored a part only: figures with any are not to
        be trusted."""
        untrusted = (StageState.FAILED, StageState.PARTIAL)
        return sum(n for (_, state, _), n in self.reports.items() if state in untrusted)


def evaluation_config(config: Config) -> Config:
    """`config` with fusion keeping all that both legs recall, so that each leg can be read back,
    and without a limit that an evaluation could run into."""
    recall = config.recall
    fused_depth = recall.lexical_depth + recall.dense_depth
    return dataclasses.replace(
        config,
        recall=dataclasses.replace(recall, fused_depth=fused_depth),
        admission=dataclasses.replace(config.admission, backlog_seconds=0.0),
        first_reranker=dataclasses.replace(config.first_reranker, queue_seconds=3600.0),
        second_reranker=dataclasses.replace(config.second_reranker, queue_seconds=3600.0),
    )


async def run_queries(
    judged: JudgedSet,
    recaller: Recaller,
    pipeline: Searcher,
    on_query: Callable[[], None] = lambda: None,
) -> StageRuns:
    """Every query through `pipeline`, a bounded number at a time.

    Raises what the pipeline raises for the first query that has no ranking at all.
    """
    runs = StageRuns()
    slots = asyncio.Semaphore(QUERIES_IN_FLIGHT)

    async def run_query(query_id: str, text: str) -> None:
        async with slots:
            deadline = Deadline.after(QUERY_TIMEOUT_SECONDS)
            rankings = [r async for r in pipeline.run(recaller, Query(text), deadline)]
        _record(runs, query_id, rankings)
        on_query()

    try:
        async with asyncio.TaskGroup() as group:
            for query_id, text in judged.queries.items():
                group.create_task(run_query(query_id, text))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return _in_order(runs, judged)


def _record(runs: StageRuns, query_id: str, rankings: Sequence[Ranking]) -> None:
    last = rankings[-1]
    for leg in LEGS:
        runs.rankings[leg][query_id] = leg_order(last.hits, leg)
    orders = {ranking.stage: [hit.doc_id for hit in ranking.hits] for ranking in rankings}
    order: list[str] = []
    for stage in LATER_STAGES:
        order = orders.get(stage, order)
        runs.rankings[stage][query_id] = order
    for report in last.stages:
        _count(runs, report)


def _count(runs: StageRuns, report: StageReport) -> None:
    if report.state is not StageState.COMPLETE:
        runs.reports[report.stage, report.state, report.reason] += 1
    if report.model:
        runs.models[report.stage] = f"{report.model}@{report.model_revision}"


def leg_order(hits: Sequence[Hit], leg: Stage) -> list[str]:
    """The ranking of one leg, read back from the scores that the hits carry."""
    ranks = [(score.rank, hit.doc_id) for hit in hits for score in hit.scores if score.stage is leg]
    return [doc_id for _, doc_id in sorted(ranks)]


def _in_order(runs: StageRuns, judged: JudgedSet) -> StageRuns:
    """Queries in the order of the set, whichever ended first."""
    for stage, run in runs.rankings.items():
        runs.rankings[stage] = {query_id: run[query_id] for query_id in judged.queries}
    return runs


def to_report(judged: JudgedSet, runs: StageRuns) -> dict[str, Any]:
    """The figures as `sidecar evaluate --json` prints them: set, queries, stages, then the rest."""
    return {
        "set": judged.name,
        "queries": len(judged.queries),
        "stages": {
            stage_name(stage): {
                name: round(value, 5)
                for name, value in mean_measures(runs.rankings[stage], judged.qrels).items()
            }
            for stage in STAGES
        },
        "not_run": [
            {"stage": stage_name(s), "state": state.name, "reason": reason.name, "queries": n}
            for (s, state, reason), n in sorted(runs.reports.items())
        ],
        "models": {stage_name(stage): model for stage, model in sorted(runs.models.items())},
    }


def stage_name(stage: Stage) -> str:
    """The stage as tables and JSON spell it."""
    return stage.name.lower()
