"""Turns events and judgments into lists: each query with what is known of documents.

Leaves lists.jsonl (train, dev and test queries; what is known before mining), report.json, and
where there is a log expected_grades.json: what it lets expect of each document that was shown, by
which rankings are measured and rerankers may learn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.clicks.store import read_clicks
from training.config import LabelConfig
from training.examples.documents import document_ids
from training.examples.judgments import read_judgments
from training.labels.candidates import by_query, candidates_of
from training.labels.expected_grades import estimated
from training.labels.from_clicks import LabelRules, label
from training.lists import ListCandidate, TrainingList, write_lists
from training.propensity.chosen import read_chosen
from training.queries import read_queries
from training.run_files import (
    CLICKS_FILE,
    CORPUS_FILE,
    EXPECTED_GRADES_FILE,
    JUDGMENTS_FILE,
    LISTS_FILE,
    QUERIES_FILE,
    REPORT_FILE,
    write_json,
)
from training.stage import Stage, Work

Known = dict[str, dict[str, ListCandidate]]  # by query id and document id


def run(work: Work) -> Mapping[str, Any]:
    """Figures: lists, and candidates by source."""
    known: Known = {}
    unknown = _add_clicks(work, known)
    overridden = _add_judgments(work, known)
    lists = list(_to_lists(work, known))
    write_lists(lists, work.out / LISTS_FILE)
    report = _report(lists) | {
        "clicked_pairs_without_a_document": unknown,
        "clicked_pairs_that_judgments_overrule": overridden,
    }
    write_json(work.out / REPORT_FILE, report)
    return {"lists": len(lists), **report["sources"]}


def rules_of(config: LabelConfig) -> LabelRules:
    """0 stands for never, and for what the log itself tells."""
    return LabelRules(
        liked_dwell_seconds=config.liked_dwell_seconds,
        least_skips=config.least_skips,
        least_impressions=config.least_impressions,
        half_life_days=config.half_life_days or None,
        prior_examinations=config.prior_examinations or None,
        least_propensity=config.least_propensity,
    )


def _add_clicks(work: Work, known: Known) -> int:
    """Pairs of the log whose documents are not known: they are left out."""
    path = work.input("collect") / CLICKS_FILE
    if not path.exists():
        return 0
    log, config, unknown = read_clicks(path), work.config.label, 0
    labels = label(log, read_chosen(work.input("propensity")).open().fit(log), rules_of(config))
    queries = {one.query_id for one in read_queries(work.input("collect") / QUERIES_FILE)}
    estimated(labels, log, queries).write(work.out / EXPECTED_GRADES_FILE)
    documents = document_ids(work.input("collect") / CORPUS_FILE)
    found = candidates_of(labels, config.least_gain, config.best_event_examinations)
    for query_id, candidates in by_query(found, log):
        there = {one.doc_id: one for one in candidates if one.doc_id in documents}
        unknown += len(candidates) - len(there)
        known[query_id] = there
    return unknown


def _add_judgments(work: Work, known: Known) -> int:
    """Judgments count before clicks; of how many pairs both say something."""
    overruled = 0
    for one in read_judgments(work.input("collect") / JUDGMENTS_FILE):
        candidates = known.setdefault(one.query_id, {})
        overruled += one.doc_id in candidates
        candidates[one.doc_id] = ListCandidate(
            one.doc_id, one.gain, one.grade, one.weight, one.source
        )
    return overruled


def _to_lists(work: Work, known: Known) -> Iterator[TrainingList]:
    """In the order of collect's queries; those of which nothing is known are left out."""
    for query in read_queries(work.input("collect") / QUERIES_FILE):
        candidates = known.get(query.query_id)
        if candidates:
            ordered = sorted(candidates.values(), key=lambda one: -one.gain)
            yield TrainingList(query.query_id, query.query, query.split, tuple(ordered))


def _report(lists: Sequence[TrainingList]) -> dict[str, Any]:
    candidates = [one for each in lists for one in each.candidates]
    return {
        "lists_by_split": dict(Counter(each.split.value for each in lists)),
        "lists_with_positives": sum(bool(each.positives) for each in lists),
        "sources": dict(Counter(one.source.value for one in candidates)),
        "grades": {str(g): n for g, n in sorted(Counter(one.grade for one in candidates).items())},
        "mean_weights": _mean_weights(candidates),
    }


def _mean_weights(candidates: Sequence[ListCandidate]) -> dict[str, float]:
    """By source."""
    weights: dict[str, list[float]] = {}
    for one in candidates:
        weights.setdefault(one.source.value, []).append(one.weight)
    return {source: round(sum(each) / len(each), 4) for source, each in weights.items()}


STAGE = Stage(
    "label",
    "turns events into grades, gains and weights",
    run,
    sections=("label",),
    needs=("collect", "propensity"),
)
