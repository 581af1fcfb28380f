"""Shows rankings stage by stage: who is where, and where each hit was one stage earlier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sidecar.commands.search_text import highlight_lines
from sidecar.commands.terminal import Terminal, fit
from sidecar.v1 import ranking_pb2

STAGE_TITLES = {
    ranking_pb2.STAGE_INPUT: "as sent",
    ranking_pb2.STAGE_LEXICAL: "lexical",
    ranking_pb2.STAGE_DENSE: "dense",
    ranking_pb2.STAGE_FUSED: "fused",
    ranking_pb2.STAGE_FIRST_RERANK: "first-stage reranker",
    ranking_pb2.STAGE_SECOND_RERANK: "second-stage reranker",
}
_LEGS = {ranking_pb2.STAGE_LEXICAL: "BM25", ranking_pb2.STAGE_DENSE: "dense"}
_MOVE_COLUMNS = 6
_ORIGIN_COLUMNS = 19


@dataclass(slots=True)
class StageView:
    """Renders the rankings of one request, which must have asked to explain.

    `show` hits of each ranking are shown; `titles` names hits that carry no fields of their own.
    """

    terminal: Terminal
    show: int
    explain: bool = False
    titles: Mapping[str, str] | None = None
    title_fields: Sequence[str] = ("title", "text")
    _reported: int = 0

    def lines(self, ranking: ranking_pb2.Ranking) -> Iterator[str]:
        """The lines of one ranking: what the new stages did, then the hits."""
        new_reports = ranking.stages[self._reported :]
        ran = [report for report in new_reports if report.state in _RAN]
        repeats = self._reported > 0 and not ran
        self._reported = len(ranking.stages)
        for report in new_reports:
            if report.state not in _RAN:
                yield self._left_out(report)
        if repeats:
            return
        yield self._headline(ranking.stage, ran)
        for report in ran:
            if report.state == _PARTIAL:
                yield self._left_out(report)
        yield from self.hit_lines(ranking)

    def hit_lines(self, ranking: ranking_pb2.Ranking) -> Iterator[str]:
        """The lines of its hits."""
        for hit in ranking.hits[: self.show]:
            yield self._hit_line(hit, ranking.stage)
            if self.explain:
                yield self.terminal.paint(f"          {_explanation(hit)}", "dim")
            yield from highlight_lines(hit, self.terminal)

    def _headline(self, stage: ranking_pb2.Stage, reports: list[ranking_pb2.StageReport]) -> str:
        total = sum(r.elapsed_milliseconds for r in reports if r.stage not in _LEGS)
        legs = [r for r in reports if r.stage in _LEGS]
        total += max((r.elapsed_milliseconds for r in legs), default=0.0)  # they run side by side
        notes = [f"{_LEGS[r.stage]} {r.candidates_out}" for r in legs]
        notes += [_pairs(report) for report in reports if report.stage > _FUSED]
        title = self.terminal.paint(f" {STAGE_TITLES[stage]:<22}", "bold", "cyan")
        note = self.terminal.paint(fit(" · ".join(notes), self.terminal.columns - 35), "dim")
        return f"{title}{note}{total:9.1f} ms"

    def _left_out(self, report: ranking_pb2.StageReport) -> str:
        state = ranking_pb2.StageState.Name(report.state).removeprefix("STAGE_STATE_").lower()
        line = f" {STAGE_TITLES[report.stage]:<22}{state}: {report.detail}"
        return self.terminal.paint(line, "yellow")

    def _hit_line(self, hit: ranking_pb2.Hit, stage: ranking_pb2.Stage) -> str:
        columns = self.terminal.columns - 5 - _MOVE_COLUMNS - _ORIGIN_COLUMNS - 1
        title = fit(self._title(hit), columns)
        if hit.state == ranking_pb2.HIT_STATE_UNSCORED:
            title = self.terminal.paint(title, "dim")
        origin = self.terminal.paint(_origin(hit, stage), "dim")
        return f"{hit.rank:4d} {self._move(hit)}{title} {origin}".rstrip()

    def _title(self, hit: ranking_pb2.Hit) -> str:
        """The first of the hit's texts that is not empty, else its id."""
        texts = [hit.fields.get(name, "") for name in self.title_fields]
        texts.append((self.titles or {}).get(hit.doc_id, ""))
        return next((text for text in texts if text.strip()), hit.doc_id)

    def _move(self, hit: ranking_pb2.Hit) -> str:
        before = rank_before(hit)
        if before is None or hit.state == ranking_pb2.HIT_STATE_UNSCORED:
            return " " * _MOVE_COLUMNS
        if before == hit.rank:
            return self.terminal.paint(f"{'=':<{_MOVE_COLUMNS}}", "dim")
        arrow, style = ("▲", "green") if before > hit.rank else ("▼", "red")
        return self.terminal.paint(f"{arrow}{abs(before - hit.rank):<{_MOVE_COLUMNS - 1}}", style)


_PARTIAL = ranking_pb2.STAGE_STATE_PARTIAL
_RAN = (ranking_pb2.STAGE_STATE_COMPLETE, _PARTIAL)
_FUSED = ranking_pb2.STAGE_FUSED
_WHY_NOT = {
    ranking_pb2.UNSCORED_REASON_EMPTY_TEXT: "no text",
    ranking_pb2.UNSCORED_REASON_NOT_FINITE: "the model failed",
    ranking_pb2.UNSCORED_REASON_TOO_LONG: "too long",
    ranking_pb2.UNSCORED_REASON_DEADLINE: "no time for it",
}


def _pairs(report: ranking_pb2.StageReport) -> str:
    """ "16 of 50 pairs by MODEL, 4 cached"."""
    part = f" of {report.candidates_in}" if report.state == _PARTIAL else ""
    cached = f", {report.candidates_cached} cached" if report.candidates_cached else ""
    return f"{report.candidates_out}{part} pairs by {report.model}{cached}"


def rank_before(hit: ranking_pb2.Hit) -> int | None:
    """The hit's rank one stage before the one that scored it last; None where it entered there.

    Fusion joins two rankings, so a fused hit has no single rank before.
    """
    before = [score for score in hit.explanation if _FUSED <= score.stage < hit.stage]
    if hit.stage > _FUSED and not before:
        before = [s for s in hit.explanation if s.stage == ranking_pb2.STAGE_INPUT]
    return before[-1].rank if before else None


def _origin(hit: ranking_pb2.Hit, stage: int) -> str:
    """Where the hit came from: the ranks in both legs, or the ranks in the stages before."""
    ranks = {score.stage: score.rank for score in hit.explanation}
    if stage == _FUSED:
        legs = [f"{name} {ranks[leg]}" if leg in ranks else "" for leg, name in _LEGS.items()]
        return f"{legs[0]:<9} {legs[1]}"
    before = rank_before(hit)
    if hit.state == ranking_pb2.HIT_STATE_UNSCORED:
        return _WHY_NOT.get(hit.unscored_reason, "not scored")
    return "" if before is None else f"was {before}"


def _explanation(hit: ranking_pb2.Hit) -> str:
    parts = []
    for score in hit.explanation:
        name = ranking_pb2.Stage.Name(score.stage).removeprefix("STAGE_").lower()
        model = f" (model {score.model_score:.4f})" if score.HasField("model_score") else ""
        value = f" {score.score:.4f}" if score.HasField("score") else ""
        parts.append(f"{name} #{score.rank}{value}{model}")
    if hit.HasField("boost_factor"):
        parts.append(f"boosted by {hit.boost_factor:.3g}")
    if hit.HasField("probability"):
        parts.append(f"relevant with probability {hit.probability:.2f}")
    if hit.truncated:
        parts.append(f"read in part ({hit.token_count} tokens)")
    return "; ".join(parts)
