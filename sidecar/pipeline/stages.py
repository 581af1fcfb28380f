"""Which rerank stages a request passes, as far as request, configuration and contracts say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.config import LanguageConfig
from sidecar.errors import InvalidFieldError
from sidecar.models.language import detect_language
from sidecar.pipeline.standing import Standing
from sidecar.rerank.reranker import Reranker
from sidecar.types import RankingOptions, Stage, StageReason, StageReport, StageState

RERANK_STAGES = (Stage.FIRST_RERANK, Stage.SECOND_RERANK)


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A rerank stage of one request: to be run with `reranker` on `depth` hits, or left out."""

    stage: Stage
    reranker: Reranker | None
    depth: int
    reason: StageReason = StageReason.NONE
    detail: str = ""


Plan = tuple[PlannedStage, ...]


def plan_stages(
    rerankers: Mapping[Stage, Reranker | None],
    query: str,
    options: RankingOptions,
    language: LanguageConfig,
) -> Plan:
    """Both stages in order, each to be run or left out."""
    spoken = options.language or detect_language(query)
    return tuple(
        _planned(stage, rerankers[stage], options, spoken if language.skip_unserved else "")
        for stage in RERANK_STAGES
    )


def leave_out_head(standing: Standing, plan: Plan) -> tuple[Standing, Plan]:
    """Reports the planned stages that will not run, up to the first that will."""
    while plan and plan[0].reranker is None:
        left_out, plan = plan[0], plan[1:]
        report = StageReport(left_out.stage, StageState.SKIPPED, left_out.reason, left_out.detail)
        standing = standing.with_report(report)
    return standing, plan


def check_reach(minimum: Stage, standing: Standing, plan: Plan) -> None:
    """Raises InvalidFieldError if no stage that is to run can bring the standing to the least stage
    wanted: no time and no second try would help."""
    runs = any(planned.reranker is not None and planned.stage >= minimum for planned in plan)
    if standing.stage < minimum and not runs:
        reasons = [f"{r.stage.name}: {r.detail}" for r in standing.reports if r.detail]
        reasons += [f"{one.stage.name}: {one.detail}" for one in plan if one.detail]
        why = "; ".join(reasons) or f"the ranking ends at {standing.stage.name}"
        raise InvalidFieldError(
            "options.minimum_stage", f"is {minimum.name}, which this request cannot reach ({why})"
        )


def _planned(
    stage: Stage, reranker: Reranker | None, options: RankingOptions, language: str
) -> PlannedStage:
    if options.last_stage < stage:
        return _left_out(stage, StageReason.NOT_REQUESTED, "last_stage is before this stage")
    if reranker is None:
        return _left_out(stage, StageReason.NOT_CONFIGURED, "no model is configured")
    asked = (
        options.first_rerank_depth if stage is Stage.FIRST_RERANK else options.second_rerank_depth
    )
    depth = reranker.config.depth if asked is None else asked
    if depth == 0:
        return _left_out(stage, StageReason.NOT_REQUESTED, "its depth is 0")
    contract = reranker.contract
    if not contract.serves(language):
        detail = f"{contract.name} serves {', '.join(contract.languages)}, not {language}"
        return _left_out(stage, StageReason.LANGUAGE_NOT_SERVED, detail)
    return PlannedStage(stage, reranker, depth)


def _left_out(stage: Stage, reason: StageReason, detail: str) -> PlannedStage:
    return PlannedStage(stage, None, 0, reason, detail)
