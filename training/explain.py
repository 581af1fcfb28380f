"""`sidecar-train explain`: everything that a run knows of one query.

collect's queries.jsonl -> the query; clicks.npz and propensity -> what users saw and did, and what
that says of each document; label and mine -> the lists that models learn from; evaluate -> how it
was ranked before and after. What a stage has not left (yet) is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sidecar.errors import InputFileError, InvalidFieldError
from sidecar.evaluation.beir import read_jsonl
from training.clicks.log import ClickLog, FloatArray
from training.clicks.store import read_clicks
from training.config import MODELS, TrainingConfig
from training.labels.from_clicks import Grade, Labels, label
from training.lists import TrainingList, read_lists
from training.propensity.chosen import read_chosen
from training.queries import KnownQuery, normalised, read_queries
from training.run_files import (
    CHOICE_FILE,
    CLICKS_FILE,
    CORPUS_FILE,
    LISTS_FILE,
    PER_QUERY_FILE,
    QUERIES_FILE,
)
from training.run_folders import has_run, where_else
from training.stages.label import rules_of

NAMES_SHOWN = 5  # of queries that read alike
TITLE_CHARACTERS = 48


@dataclass(frozen=True, slots=True)
class Shown:
    """A document that users of the query saw. Counts are decayed by age, as labels count."""

    doc_id: str
    mean_rank: float
    impressions: float
    examinations: float  # expected
    clicks: float
    carts: int
    orders: int
    dwell_seconds: float | None  # the median of the stays that are known
    grade: str
    relevance: float
    gain: float
    weight: float


@dataclass(slots=True)
class Explained:
    """What is known. `lists`: by the stage's place; `measured`: by model, the row of per_query."""

    query: KnownQuery
    impressions: int = 0
    estimator: str = ""
    why: list[str] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    lists: dict[str, TrainingList] = field(default_factory=dict)
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)


def explain(config: TrainingConfig, root: Path, asked: str) -> Explained:
    """Of a query by its id or its text. Raises InputFileError where nothing was collected yet,
    InvalidFieldError for a query that the run does not know."""
    query = find(root, asked)
    told = Explained(query)
    _look_at_log(told, config, root)
    for place in (
        "label",
        *(f"{model}/{stage}" for model in MODELS for stage in ("mine", "teach")),
    ):
        found = _list_of(root / place / LISTS_FILE, query.query_id)
        if found is not None:
            told.lists[place] = found
    for model in MODELS:
        row = _row_of(root / model / "evaluate" / PER_QUERY_FILE, "query_id", query.query_id)
        if row is not None:
            told.measured[model] = row
    wanted = {one.doc_id for one in told.shown}
    wanted |= {one.doc_id for made in told.lists.values() for one in made.candidates}
    for row in told.measured.values():
        wanted.update(*row["top"].values())
    told.titles = _titles(root / "collect" / CORPUS_FILE, wanted)
    return told


def find(root: Path, asked: str) -> KnownQuery:
    """The query of an id, or of a text that reads the same."""
    path = root / "collect" / QUERIES_FILE
    if not path.is_file():
        begun = "its stage collect is not done: `sidecar-train run` goes on there"
        raise InputFileError(str(root), None, begun if has_run(root) else where_else(root))
    known = list(read_queries(path))
    text = normalised(asked)
    for one in known:
        if one.query_id == asked or normalised(one.query) == text:
            return one
    words = set(text.split())
    alike = [one.query for one in known if words & set(normalised(one.query).split())]
    hint = f"; there are {', '.join(map(repr, alike[:NAMES_SHOWN]))}" if alike else ""
    raise InvalidFieldError("--query", f"the run knows no query {asked!r}{hint}")


def _look_at_log(told: Explained, config: TrainingConfig, root: Path) -> None:
    path = root / "collect" / CLICKS_FILE
    propensity = root / "propensity"
    if not path.exists() or not (propensity / CHOICE_FILE).exists():
        return
    log, chosen = read_clicks(path), read_chosen(propensity)
    if told.query.query_id not in log.query_names:
        return
    told.estimator, told.why = chosen.name, list(chosen.why)
    model = chosen.open().fit(log)
    place = log.query_names.index(told.query.query_id)
    labels = label(log, model, rules_of(config.label))
    part = log.select(log.queries == place)
    told.impressions = part.impressions
    rows = np.flatnonzero(labels.queries == place)
    told.shown = sorted(
        (_to_shown(part, labels, int(row)) for row in rows), key=lambda one: one.mean_rank
    )


def _to_shown(part: ClickLog, labels: Labels, row: int) -> Shown:
    """`part`: the impressions of the query."""
    document = int(labels.documents[row])
    at = part.documents == document
    ranks = np.nonzero(at)[1] + 1
    return Shown(
        doc_id=part.document_names[document],
        mean_rank=float(ranks.mean()),
        impressions=float(labels.impressions[row]),
        examinations=float(labels.examinations[row]),
        clicks=float(labels.clicks[row]),
        carts=int(part.carts[at].sum()),
        orders=int(part.orders[at].sum()),
        dwell_seconds=_median(part.dwell_seconds[at]),
        grade=Grade(int(labels.grades[row])).name.lower().replace("_", " "),
        relevance=float(labels.relevances[row]),
        gain=float(labels.gains[row]),
        weight=float(labels.weights[row]),
    )


def _median(seconds: FloatArray) -> float | None:
    known = seconds[np.isfinite(seconds)]
    return float(np.median(known)) if len(known) else None


def _list_of(path: Path, query_id: str) -> TrainingList | None:
    if not path.exists():
        return None
    return next((one for one in read_lists(path) if one.query_id == query_id), None)


def _row_of(path: Path, key: str, wanted: str) -> dict[str, Any] | None:
    if not path.exists():
        return None
    return next((row for _, row in read_jsonl(path) if row.get(key) == wanted), None)


def _titles(path: Path, wanted: set[str]) -> dict[str, str]:
    if not path.exists():
        return {}
    found = {
        row["_id"]: row.get("title") or row["text"]
        for _, row in read_jsonl(path)
        if row.get("_id") in wanted
    }
    return {doc_id: " ".join(title.split())[:TITLE_CHARACTERS] for doc_id, title in found.items()}


def to_tree(told: Explained) -> dict[str, Any]:
    """As JSON."""
    return asdict(told)


def to_lines(told: Explained) -> Iterator[str]:
    """For people."""
    query = told.query
    made = ", made up" if query.synthetic else ""
    yield f"{query.query_id} {query.query!r}: {query.split}, asked {query.frequency} times{made}"
    yield from _lines_of_log(told)
    for place, one in told.lists.items():
        yield from _lines_of_list(place, one, told.titles)
    for model, row in told.measured.items():
        yield from _lines_of_measures(model, row, told.titles)


def _lines_of_log(told: Explained) -> Iterator[str]:
    if not told.impressions:
        yield "the log has nothing of it"
        return
    yield f"\nthe log: {told.impressions} impressions; examination by {told.estimator}"
    yield from (f"  {reason}" for reason in told.why)
    head = f"  {'rank':>5}{'shown':>8}{'looked at':>11}{'clicks':>8}{'cart':>6}{'order':>7}"
    yield f"{head}{'stay':>7}{'relevance':>11}{'gain':>7}{'weight':>8}  grade, document"
    for one in told.shown:
        stay = "-" if one.dwell_seconds is None else f"{one.dwell_seconds:.0f} s"
        yield (
            f"  {one.mean_rank:>5.1f}{one.impressions:>8.1f}{one.examinations:>11.1f}"
            f"{one.clicks:>8.1f}{one.carts:>6}{one.orders:>7}{stay:>7}{one.relevance:>11.3f}"
            f"{one.gain:>7.2f}{one.weight:>8.2f}  {one.grade}, {_named(one.doc_id, told.titles)}"
        )


def _lines_of_list(place: str, one: TrainingList, titles: Mapping[str, str]) -> Iterator[str]:
    positives, negatives = len(one.positives), sum(not each.gain for each in one.candidates)
    expected = len(one.candidates) - positives - negatives
    others = f", {expected} between, as the log lets expect" if expected else ""
    yield f"\n{place}: {positives} positives, {negatives} negatives{others}"
    for each in sorted(one.candidates, key=lambda candidate: -candidate.gain):
        teacher = "" if each.teacher is None else f"  teacher {each.teacher:+.2f}"
        yield (
            f"  gain {each.gain:.2f}  grade {each.grade}  weight {each.weight:.2f}  "
            f"{each.source:10}{_named(each.doc_id, titles)}{teacher}"
        )


def _lines_of_measures(
    model: str, row: Mapping[str, Any], titles: Mapping[str, str]
) -> Iterator[str]:
    slices = ", ".join(row["slices"]) or "none"
    yield f"\n{model}: {row['difference']:+.4f} against production; slices: {slices}"
    for system, stages in row["values"].items():
        for stage, values in stages.items():
            told = "  ".join(f"{measure} {value:.4f}" for measure, value in values.items())
            yield f"  {system:12}{stage:15}{told}"
    before, after = row["top"].values()
    yield f"  {'before':>8}{'after':>8}"
    for doc_id in dict.fromkeys((*after, *before)):
        ranks = (_rank(doc_id, ranking) for ranking in (before, after))
        yield f"  {''.join(f'{rank:>8}' for rank in ranks)}  {_named(doc_id, titles)}"


def _rank(doc_id: str, ranking: Sequence[str]) -> str:
    return str(ranking.index(doc_id) + 1) if doc_id in ranking else "-"


def _named(doc_id: str, titles: Mapping[str, str]) -> str:
    return f"{doc_id} {titles.get(doc_id, '')}".rstrip()
