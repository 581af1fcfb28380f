"""Where a ranking stands between two stages, and whether that is enough for the caller."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from sidecar.errors import StageDeadlineError, StageUnavailableError
from sidecar.types import Hit, Ranking, Stage, StageReason, StageReport

_MORE_TIME_HELPS = (StageReason.DEADLINE, StageReason.OVERLOADED)


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

    def without_missing(self, depth: int, present: Mapping[str, object]) -> Standing:
        """The standing without those of the first `depth` hits that are not `present`: their
        documents were deleted meanwhile."""
        kept = [
            hit for index, hit in enumerate(self.hits) if index >= depth or hit.doc_id in present
        ]
        if len(kept) == len(self.hits):
            return self
        hits = tuple(dataclasses.replace(hit, rank=rank) for rank, hit in enumerate(kept, start=1))
        return dataclasses.replace(self, hits=hits)


def check_minimum(standing: Standing, minimum: Stage) -> None:
    """Raises StageDeadlineError or StageUnavailableError if the last standing of a request is below
    the least stage that it wants. A ranking of nothing, or of texts none of which can be scored, is
    what it is, whatever was wanted."""
    reports = [report for report in standing.reports if report.stage >= minimum]
    nothing_to_score = any(report.reason is StageReason.NO_CANDIDATES for report in reports)
    if standing.stage >= minimum or not standing.hits or nothing_to_score:
        return
    message = f"{minimum.name} was not reached: {_reasons(reports)}"
    if any(report.reason in _MORE_TIME_HELPS for report in reports):
        raise StageDeadlineError(message)
    raise StageUnavailableError(message)


def _reasons(reports: Iterable[StageReport]) -> str:
    return "; ".join(f"{report.stage.name}: {report.detail}" for report in reports)
