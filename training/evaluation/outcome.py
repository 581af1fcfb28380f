"""What an evaluation leaves: metrics.json, evidence for the gate, rows of errors.jsonl."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.evaluation import comparing
from training.evaluation.comparing import FUSED, LAST, LEXICAL, Values, primary_stage
from training.evaluation.counterfactual import ClicksEstimates
from training.evaluation.evidence import Both, Evidence, Parity
from training.evaluation.latency import Timed
from training.evaluation.lineup import BESIDE, CANDIDATE, PRODUCTION, Lineup
from training.evaluation.queries import QuerySet
from training.evaluation.running import Measured
from training.evaluation.slices import Slices
from training.evaluation.systems import read_passages_of
from training.evaluation.worst import Case, chosen_cases, worst_row
from training.measures import Measure

READS = {
    "first_reranker": FUSED,
    "second_reranker": "first_rerank",
}  # which ranking a role reorders
TOP = 10  # documents of each ranking that per_query.jsonl names


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that was measured of one model. `measures`: the first is primary."""

    model: str
    named: Lineup
    queries: QuerySet
    measures: Sequence[Measure]
    slices: Slices
    measured: Measured
    values: Values
    told: ClicksEstimates
    timed: Timed | None
    parity: Parity | None
    seed: int

    @property
    def stage(self) -> str:
        """The one that is judged."""
        return primary_stage(self.named.role)

    def top_of(self, query_id: str) -> dict[str, list[str]]:
        """The first TOP documents of production and candidate at the stage that is judged."""
        return {
            name: list(self.measured.ranked[name].rankings[self.stage][query_id][:TOP])
            for name in (PRODUCTION, CANDIDATE)
        }

    @property
    def primary(self) -> str:
        """The measure that decides."""
        return str(self.measures[0])


def to_metrics(outcome: Outcome) -> dict[str, Any]:
    """metrics.json: plain values without infinities."""
    named, queries, measured = outcome.named, outcome.queries, outcome.measured
    figures = comparing.to_figures(
        outcome.values, named.role, outcome.measures, outcome.slices, outcome.seed
    )
    told = {
        "model": outcome.model,
        "role": named.role,
        "measure": outcome.primary,
        "stage": outcome.stage,
        "sentence": comparing.sentence(figures, outcome.primary),
        "queries": {
            "name": queries.name,
            "origin": queries.origin,
            "count": len(queries.queries),
            "judgments": sum(map(len, queries.qrels.values())),
        },
        "notes": [*queries.notes, *measured.notes],
        "models": {name: one.models for name, one in measured.ranked.items()},
        **figures,
        "off_policy": dataclasses.asdict(outcome.told),
        "latency": dataclasses.asdict(outcome.timed) if outcome.timed else None,
        "parity": dataclasses.asdict(outcome.parity) if outcome.parity else None,
    }
    finite: dict[str, Any] = comparing.finite(told)
    return finite


def to_evidence(outcome: Outcome) -> Evidence:
    """What the gate is shown."""
    values, stage, primary = outcome.values, outcome.stage, outcome.primary
    also = {"last": _both(values, LAST, primary)}
    if recall := next((str(each) for each in outcome.measures if each.name == "R"), None):
        also["recall"] = _both(values, FUSED, recall)
    return Evidence(
        measure=primary,
        production=values[PRODUCTION][stage][primary],
        candidate=values[CANDIDATE][stage][primary],
        slices=outcome.slices,
        latency=outcome.timed.to_evidence() if outcome.timed else None,
        parity=outcome.parity,
        also=also,
        beside=values[BESIDE][stage][primary] if BESIDE in values else None,
        failed=outcome.measured.ranked[CANDIDATE].failed,
    )


def to_errors(outcome: Outcome, most: int, corpus: Path) -> Iterator[dict[str, Any]]:
    """The worst queries, at most so many; texts are those of the corpus."""
    before, after = (
        outcome.values[name][outcome.stage][outcome.primary] for name in (PRODUCTION, CANDIDATE)
    )
    both = {key: (before[key], after[key]) for key in outcome.queries.queries}
    cases = [_case(outcome, key, both[key]) for key in chosen_cases(both, most)]
    wanted = {doc_id for case in cases for doc_id in (*case.positives, *case.candidate[:1])}
    passages = read_passages_of(corpus, wanted)
    for case in cases:
        made_up = outcome.queries.queries[case.query_id].synthetic
        yield {**worst_row(case, passages), **({"synthetic": True} if made_up else {})}


def summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of the stage, for one line."""
    made, latency = metrics["comparisons"][PRODUCTION], metrics["latency"]
    figures = {
        "measure": f"{metrics['measure']} {metrics['stage']}",
        "production": round(made["production"], 4),
        "candidate": round(made["candidate"], 4),
        "p": made["p"],
        "queries": made["queries"],
    }
    if latency:
        figures["p99_production"] = latency[PRODUCTION]["p99"]
        figures["p99_candidate"] = latency[CANDIDATE]["p99"]
    return figures


def _both(values: Values, stage: str, measure: str) -> Both:
    return Both(measure, values[PRODUCTION][stage][measure], values[CANDIDATE][stage][measure])


def _case(outcome: Outcome, key: str, values: tuple[float, float]) -> Case:
    named, queries, measured = outcome.named, outcome.queries, outcome.measured
    candidate = measured.ranked[CANDIDATE].rankings
    before = READS.get(named.role)
    return Case(
        query_id=key,
        query=queries.queries[key].text,
        judged=queries.qrels[key],
        production=measured.ranked[PRODUCTION].rankings[outcome.stage][key],
        candidate=candidate[outcome.stage][key],
        recalled=candidate[FUSED][key],
        read=candidate[before or LEXICAL][key],
        depth=getattr(named.config, named.role).depth if before else 0,
        scores=measured.scores[key],
        values=values,
    )
