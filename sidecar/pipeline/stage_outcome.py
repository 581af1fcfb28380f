"""How a rerank stage ended for one request, and the report that says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.pipeline.reading import Lack
from sidecar.rerank.reranker import Reranker, StageScores
from sidecar.types import Stage, StageReason, StageReport, StageState, Truncation, UnscoredReason


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a stage ended; the fields of its report."""

    state: StageState
    reason: StageReason = StageReason.NONE
    detail: str = ""


def skipped(reason: StageReason, detail: str) -> Verdict:
    """The stage did not run."""
    return Verdict(StageState.SKIPPED, reason, detail)


def failed(reason: StageReason, detail: str) -> Verdict:
    """The stage ran, for nothing."""
    return Verdict(StageState.FAILED, reason, detail)


def of_lack(lack: Lack) -> Verdict:
    """The stage could not run without what lacks."""
    verdict = skipped if lack.reason is StageReason.DEADLINE else failed
    return verdict(lack.reason, lack.detail)


def with_lack(reports: Sequence[StageReport], lack: Lack) -> tuple[StageReport, ...]:
    """The reports; that of the fused order says what this order lacks."""
    return tuple(
        dataclasses.replace(
            report,
            state=StageState.PARTIAL,
            reason=lack.reason,
            detail="; ".join(filter(None, (report.detail, lack.detail))),
        )
        if report.stage is Stage.FUSED
        else report
        for report in reports
    )


def verdict_of(scores: StageScores, wanted: int) -> Verdict:
    """How a stage ended that settled the first `len(scores.pairs)` of its `wanted` candidates."""
    pairs = scores.pairs
    cut = scores.reason if scores.reason is not StageReason.NONE else StageReason.DEADLINE
    if not pairs:
        return failed(cut, scores.detail or "it did not finish before the deadline")
    if all(pair.score is None for pair in pairs):
        if any(pair.reason is UnscoredReason.NOT_FINITE for pair in pairs):
            return failed(StageReason.MODEL_FAILED, "no pair got a finite score")
        if len(pairs) == wanted:
            return skipped(StageReason.NO_CANDIDATES, "no candidate has a text that can be scored")
    if len(pairs) < wanted:
        scored = f"{len(pairs)} of {wanted} candidates"
        detail = (
            f"{scored}; {scores.detail}" if scores.detail else f"the time sufficed for {scored}"
        )
        return Verdict(StageState.PARTIAL, cut, detail)
    return Verdict(StageState.COMPLETE)


def to_report(
    reranker: Reranker,
    outcome: StageScores | Verdict,
    wanted: int,
    elapsed_seconds: float,
    truncation: Truncation,
) -> StageReport:
    """The report of a stage that was to score `wanted` candidates."""
    scores = outcome.pairs if isinstance(outcome, StageScores) else ()
    queued = outcome.queue_seconds if isinstance(outcome, StageScores) else 0.0
    verdict = outcome if isinstance(outcome, Verdict) else verdict_of(outcome, wanted)
    return StageReport(
        stage=reranker.stage,
        state=verdict.state,
        reason=verdict.reason,
        detail=verdict.detail,
        model=reranker.contract.name,
        model_revision=reranker.contract.revision,
        candidates_in=wanted,
        candidates_out=sum(pair.score is not None for pair in scores),
        elapsed_milliseconds=elapsed_seconds * 1000.0,
        template_digest=reranker.template_digest(truncation),
        candidates_cached=sum(pair.cached for pair in scores),
        queue_milliseconds=queued * 1000.0,
    )
