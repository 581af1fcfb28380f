"""How a rerank stage ended for one request, and the report that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.rerank.reranker import PairScore, Reranker, StageScores
from sidecar.types import StageReason, StageReport, StageState, Truncation, UnscoredReason


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


def verdict_of(scores: Sequence[PairScore], wanted: int) -> Verdict:
    """How a stage ended that settled the first `len(scores)` of its `wanted` candidates."""
    if not scores:
        return failed(StageReason.DEADLINE, "it did not finish before the deadline")
    if all(pair.score is None for pair in scores):
        if any(pair.reason is UnscoredReason.NOT_FINITE for pair in scores):
            return failed(StageReason.MODEL_FAILED, "no pair got a finite score")
        if len(scores) == wanted:
            return skipped(StageReason.NO_CANDIDATES, "no candidate has a text that can be scored")
    if len(scores) < wanted:
        detail = f"the time sufficed for {len(scores)} of {wanted} candidates"
        return Verdict(StageState.PARTIAL, StageReason.DEADLINE, detail)
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
    verdict = outcome if isinstance(outcome, Verdict) else verdict_of(scores, wanted)
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
