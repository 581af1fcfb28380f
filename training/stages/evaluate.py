"""Measures what would be served: the candidate beside production, BM25 and zero-shot.

judged queries -> every system end to end over the run's corpus, and each model alone over the same
candidates -> measures, slices, worst queries; users' clicks; latency through real servers ->
metrics.json, per_query.jsonl, errors.jsonl, evidence.json for the gate, report.html for people.

What is measured is the exported folder. Rankings are kept as they are made, indexes below the run's
folder by model and revision, so that a stage that was cut short goes on.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sidecar.evaluation.beir import JudgedSet
from training.config import TrainingConfig
from training.evaluation.comparing import LAST, expected_qrels, measure_systems, per_query
from training.evaluation.counterfactual import (
    ClicksEstimates,
    ClicksEvidence,
    estimates,
    read_clicks_evidence,
)
from training.evaluation.evidence import Parity, write_evidence
from training.evaluation.latency import Timed
from training.evaluation.lineup import CANDIDATE, PRODUCTION, Lineup, lineup
from training.evaluation.outcome import Outcome, summary, to_errors, to_evidence, to_metrics
from training.evaluation.page.page import write_page
from training.evaluation.queries import (
    QuerySet,
    judged_queries,
    known_queries,
    log_queries,
)
from training.evaluation.running import Measured, Places, run_systems
from training.evaluation.servers import reason_not_to_time, served_otherwise, timed_servers
from training.evaluation.slices import slices_of
from training.examples.places import place_of, there
from training.lists import Split
from training.measures import parse_measure
from training.models.production import PRODUCTION_KEYS
from training.queries import KnownQuery, drawn
from training.run_files import (
    ERRORS_FILE,
    EVIDENCE_FILE,
    INDEXES,
    METRICS_FILE,
    PAGE_FILE,
    PARITY_FILE,
    PER_QUERY_FILE,
    write_json,
)
from training.stage import Stage, Work


def run(work: Work) -> Mapping[str, Any]:
    """Figures: the primary measure before and after, p, queries, latency of both."""
    outcome = _outcome(work)
    config = work.config.evaluate
    metrics = to_metrics(outcome)
    rows = per_query(
        outcome.values, outcome.named.role, outcome.queries.texts, outcome.slices, outcome.measures
    )
    rows = [{**row, "top": outcome.top_of(row["query_id"])} for row in rows]
    errors = list(to_errors(outcome, config.worst_queries, work.input("collect")))
    write_json(work.out / METRICS_FILE, metrics)
    _write_lines(work.out / PER_QUERY_FILE, rows)
    _write_lines(work.out / ERRORS_FILE, errors)
    write_evidence(to_evidence(outcome), work.out / EVIDENCE_FILE)
    write_page(work.out / PAGE_FILE, metrics, rows, errors, work.inputs)
    work.progress.say(metrics["sentence"])
    return summary(metrics)


def _outcome(work: Work) -> Outcome:
    """Runs what has to be run."""
    config, seed = work.config.evaluate, work.config.seed
    measures = [parse_measure(each) for each in config.measures]
    known = known_queries(work.input("collect"))
    queries = _queries(work, known)
    tests = {key: one.query for key, one in known.items() if one.split is Split.TEST}
    clicks = read_clicks_evidence(work.input("collect"), work.input("propensity"), set(tests))
    places = Places(work.input("collect"), work.root / INDEXES, work.scratch / "rankings")
    named = lineup(work.config, work.model, work.inputs, places.indexes)
    asked = _asked(work, queries, clicks, tests)
    measured = run_systems(named, queries, asked, config.rerank_depth, places, work.progress.live)
    notes = [*measured.notes, *served_otherwise(work.config.sidecar, measured)]
    if config.latency_requests and (reason := reason_not_to_time(named)):
        notes.append(reason)
    measured = dataclasses.replace(measured, notes=tuple(notes))
    return Outcome(
        model=work.model,
        named=named,
        queries=queries,
        measures=measures,
        slices=slices_of(queries.queries, config.head_share),
        measured=measured,
        values=measure_systems(
            measures,
            measured.ranked,
            measured.alone,
            expected_qrels(queries, measured.ranked, measured.alone),
        ),
        told=_told(clicks, measured, seed),
        timed=_timed(work, named, queries, measured, places),
        parity=_parity(work.input("export") / PARITY_FILE),
        seed=seed,
    )


def _queries(work: Work, known: Mapping[str, KnownQuery]) -> QuerySet:
    config, seed = work.config.evaluate, work.config.seed
    if config.judged:
        return judged_queries(config.judged, known, config.most_queries, seed)
    return log_queries(work.input("label"), known, config.most_queries, seed)


def _asked(
    work: Work, queries: QuerySet, clicks: ClicksEvidence | str, tests: Mapping[str, str]
) -> JudgedSet:
    """The queries that are measured, and as many test queries that users asked: their clicks are
    what off-policy estimates are made of."""
    judged = queries.judged()
    if isinstance(clicks, str):
        return judged
    shown = {clicks.log.query_names[place] for place in set(clicks.log.queries.tolist())}
    asked = [key for key in tests if key in shown]
    chosen = drawn(asked, work.config.evaluate.most_queries, work.config.seed)
    more = {key: tests[key] for key in chosen}
    return JudgedSet(judged.name, {**more, **judged.queries}, judged.qrels)


def _told(clicks: ClicksEvidence | str, measured: Measured, seed: int) -> ClicksEstimates:
    if isinstance(clicks, str):
        return ClicksEstimates(clicks)
    before, after = (measured.ranked[name].rankings[LAST] for name in (PRODUCTION, CANDIDATE))
    return estimates(clicks, before, after, seed)


def _timed(
    work: Work, named: Lineup, queries: QuerySet, measured: Measured, places: Places
) -> Timed | None:
    """Kept once it is known; None where no request is to be timed."""
    requests, kept = work.config.evaluate.latency_requests, work.scratch / "latency.json"
    if not requests or reason_not_to_time(named):
        return None
    if kept.exists():
        return Timed.from_json(json.loads(kept.read_text(encoding="utf-8")))
    work.progress.live(f"timing {requests} requests to production and to the candidate")
    texts = list(queries.texts.values())
    took = timed_servers(named, measured.folders, places.indexes, work.scratch, texts, requests)
    write_json(kept, dataclasses.asdict(took))
    return took


def _parity(path: Path) -> Parity | None:
    """As the export measured it; None where it did not."""
    if not path.exists():
        return None
    tree = json.loads(path.read_text(encoding="utf-8"))
    correlation, difference = (
        math.nan if tree[name] is None else float(tree[name])
        for name in ("rank_correlation", "measure_difference")
    )
    return Parity(int(tree["pairs"]), correlation, difference)


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def _reads(config: TrainingConfig, model: str) -> tuple[Path, ...]:
    judged = config.evaluate.judged
    models = there(config.fine_tune(model).base) + there(config.sidecar.configuration)
    return ((place_of(judged).path,) if judged else ()) + models


STAGE = Stage(
    "evaluate",
    "measures candidate, production and baselines",
    run,
    sections=("evaluate", "{model}", "sidecar.configuration", *PRODUCTION_KEYS),
    needs=(
        *("collect", "label", "propensity", "train", "export"),
        *("bi_encoder/export", "bi_encoder/gate"),
    ),
    reads=_reads,
)
