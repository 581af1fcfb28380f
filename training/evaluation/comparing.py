"""Values of every system, query by query, and what may be said of their differences.

SystemRun by name, judgments -> `measure_systems` -> Values -> `to_figures`: means with intervals,
the candidate against each of the others, stage by stage, slice by slice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.evaluation.lineup import BM25, CANDIDATE, PRODUCTION
from training.evaluation.queries import QuerySet
from training.evaluation.significance import (
    bootstrap_intervals,
    compare,
    compare_slices,
)
from training.evaluation.slices import Slices
from training.evaluation.system_run import Rankings, SystemRun
from training.labels.expected_grades import ExpectedGrades
from training.measures import Measure, Qrels, measure_run

LEXICAL, DENSE, FUSED = "lexical", "dense", "fused"
LAST, ALONE = "second_rerank", "rerank_only"
SECONDARY_DRAWS = 2_000  # of figures that nothing is decided by

ByQuery = dict[str, float]
Values = dict[str, dict[str, dict[str, ByQuery]]]  # system -> stage -> measure -> query id -> value


def primary_stage(role: str) -> str:
    """The stage whose ranking is judged.

    A reranker is judged by the ranking at the end, which users see. So is the whole system that has
    a new bi-encoder; but what the bi-encoder itself changes is which candidates there are and how
    they are fused, and the rerankers after it, which are exchanged by themselves, hide a good part
    of that: their order of what both recall is the same. It is judged by the fused ranking, and the
    ranking at the end is measured, reported and may be guarded ("last").
    """
    return FUSED if role == "bi_encoder" else LAST


def measure_systems(
    measures: Sequence[Measure],
    ranked: Mapping[str, SystemRun],
    alone: Mapping[str, Rankings],
    qrels: Qrels,
) -> Values:
    """`alone`: the order that a system's model gives the same candidates as the others'. BM25 is
    the lexical leg of production."""
    values: Values = {
        BM25: {LEXICAL: measure_run(measures, ranked[PRODUCTION].rankings[LEXICAL], qrels)}
    }
    for name, one in ranked.items():
        rankings = one.rankings | ({ALONE: alone[name]} if name in alone else {})
        values[name] = {stage: measure_run(measures, run, qrels) for stage, run in rankings.items()}
    return values


def expected_qrels(
    queries: QuerySet, ranked: Mapping[str, SystemRun], alone: Mapping[str, Rankings]
) -> Qrels:
    """The judgments; of queries that only users judged, a grade for every document of a ranking,
    shown or not, as the log lets expect it (training/labels/expected_grades.py)."""
    if queries.expected_grades is None or not queries.of_users:
        return queries.qrels
    every = [run for one in ranked.values() for run in one.rankings.values()] + [*alone.values()]
    served = [one.rankings[LAST] for one in ranked.values()]
    return {
        query_id: _expected(query_id, queries.expected_grades, served, every)
        if query_id in queries.of_users
        else judged
        for query_id, judged in queries.qrels.items()
    }


def _expected(
    query_id: str, grades: ExpectedGrades, served: Sequence[Rankings], every: Sequence[Rankings]
) -> dict[str, float]:
    """No system's own order counts for more than another's: a document stands where the one that
    ranks it highest has it in what it would serve."""
    ranks: dict[str, int] = {}
    for run in served:
        for rank, doc_id in enumerate(run.get(query_id, ()), start=1):
            ranks[doc_id] = min(rank, ranks.get(doc_id, rank))
    doc_ids = {*grades.shown.get(query_id, {}), *ranks}
    doc_ids.update(doc_id for run in every for doc_id in run.get(query_id, ()))
    below = 1 + max((len(run.get(query_id, ())) for run in served), default=0)
    return {doc_id: grades.grade(query_id, doc_id, ranks.get(doc_id, below)) for doc_id in doc_ids}


def to_figures(
    values: Values, role: str, measures: Sequence[Measure], slices: Slices, seed: int
) -> dict[str, Any]:
    """systems, comparisons, stages, slices, before_after: plain values, as metrics.json has them.

    `comparisons`: the candidate against each other system by the primary measure; `stages`: against
    production by every measure; `slices`: by the primary measure, p corrected by Holm.
    """
    stage, primary = primary_stage(role), str(measures[0])
    production, candidate = (values[name][stage][primary] for name in (PRODUCTION, CANDIDATE))
    against = {
        name: _compared(found.get(stage, found.get(LEXICAL, {}))[primary], candidate, seed)
        for name, found in values.items()
        if name != CANDIDATE
    }
    stages = _by_stage(values, seed)
    stages[stage][primary] = against[PRODUCTION]  # the one that decides is drawn more finely
    return {
        "systems": _means(values, seed),
        "comparisons": against,
        "stages": stages,
        "slices": {
            name: dataclasses.asdict(made)
            for name, made in compare_slices(production, candidate, slices, seed=seed).items()
        },
        "before_after": before_and_after(values, stage),
    }


def before_and_after(values: Values, stage: str) -> list[dict[str, Any]]:
    """A row a stage and measure: production, candidate, the change and its share."""
    shown = dict.fromkeys((stage, DENSE, FUSED, LAST, ALONE))
    return [
        {"stage": each, "measure": measure, **_change(found, values[CANDIDATE][each][measure])}
        for each in shown
        for measure, found in values[PRODUCTION].get(each, {}).items()
    ]


def per_query(
    values: Values, role: str, texts: Mapping[str, str], slices: Slices, measures: Sequence[Measure]
) -> list[dict[str, Any]]:
    """A row a query: its slices, and its values of each system at the stage that is judged, at the
    end, and of the model alone; `difference` is candidate - production by the primary measure."""
    stage, primary = primary_stage(role), str(measures[0])
    stages = dict.fromkeys((LEXICAL, stage, LAST, ALONE))
    members: dict[str, list[str]] = {query_id: [] for query_id in texts}
    for name, query_ids in slices.items():
        for query_id in query_ids:
            members[query_id].append(name)
    rows = []
    for query_id, text in texts.items():
        told = {
            name: {
                each: {str(m): round(found[each][str(m)][query_id], 6) for m in measures}
                for each in stages
                if each in found
            }
            for name, found in values.items()
        }
        change = _at(values, CANDIDATE, stage, primary, query_id)
        change -= _at(values, PRODUCTION, stage, primary, query_id)
        rows.append(
            {
                "query_id": query_id,
                "query": text,
                "slices": members[query_id],
                "difference": round(change, 6),
                "values": told,
            }
        )
    return rows


def sentence(figures: Mapping[str, Any], measure: str) -> str:
    """What changed, in one sentence: better, worse, or that it cannot be told."""
    made = figures["comparisons"][PRODUCTION]
    change, before = made["difference"], made["production"]
    share = f", {change / before:+.1%}" if before else ""
    told = (
        f"{measure} {before:.4f} -> {made['candidate']:.4f} ({change:+z.4f}{share}) over "
        f"{made['queries']} queries, p = {made['p']:.2g}"
    )
    if not made["better"] and not made["worse"]:
        return (
            f"The candidate does as well as production on each of {made['queries']} queries: "
            f"{measure} {before:.4f}."
        )
    if made["p"] < 0.05 and change > 0:
        return f"The candidate is better than production: {told}."
    if made["p"] < 0.05:
        return f"The candidate is worse than production: {told}."
    return (
        f"The candidate cannot be told from production: {told}; these queries would have shown a "
        f"difference of {made['detectable']:.4f}."
    )


def _at(values: Values, system: str, stage: str, measure: str, query_id: str) -> float:
    return values[system][stage][measure][query_id]


def _means(values: Values, seed: int) -> dict[str, Any]:
    """System -> stage -> measure -> mean with its interval; all from the same draws of queries."""
    places = [
        (name, stage, measure)
        for name, found in values.items()
        for stage, measured in found.items()
        for measure in measured
    ]
    columns = np.array([[*values[name][stage][m].values()] for name, stage, m in places]).T
    intervals = bootstrap_intervals(columns, draws=SECONDARY_DRAWS, seed=seed)
    told: dict[str, Any] = {}
    for (name, stage, measure), column, (low, high) in zip(
        places, columns.T, intervals, strict=True
    ):
        mean = {"mean": math.fsum(column) / len(column), "low": low, "high": high}
        told.setdefault(name, {}).setdefault(stage, {})[measure] = mean
    return told


def _by_stage(values: Values, seed: int) -> dict[str, Any]:
    production, candidate = values[PRODUCTION], values[CANDIDATE]
    return {
        stage: {
            measure: _compared(by_query, candidate[stage][measure], seed, SECONDARY_DRAWS)
            for measure, by_query in production[stage].items()
        }
        for stage in (DENSE, FUSED, LAST, ALONE)
        if stage in production and stage in candidate
    }


def _compared(
    before: ByQuery, after: ByQuery, seed: int, draws: int | None = None
) -> dict[str, Any]:
    made = compare(before, after, seed=seed, **({"draws": draws} if draws else {}))
    return dataclasses.asdict(made)


def _change(before: ByQuery, after: ByQuery) -> dict[str, Any]:
    one, other = (math.fsum(each.values()) / len(each) for each in (before, after))
    relative = (other - one) / one if one else None
    return {"before": one, "after": other, "absolute": other - one, "relative": relative}


def finite(value: Any) -> Any:
    """JSON has no infinities: None, in trees as well."""
    if isinstance(value, Mapping):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
