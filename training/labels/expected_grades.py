"""What a log says of every document that was shown, and of those that were not: what rankings of
queries that nobody judged are measured by.

Labels are of what was clicked or passed over, which is what training wants. A measure that takes
all else for irrelevant favours the system whose rankings users saw, and one that leaves it out
favours the systems that rank what nobody has seen. So each document gets what is expected of it:

    shown       clicks over expected examinations, shrunk to what is shown at such ranks, times the
                mean grade of its clicks (from_clicks.py), scaled as gains are (candidates.py)
    not shown   a e^(-b (k - 1)): a line through the logarithms of the means of what is shown at
                each rank, carried on to rank k, the best that any of the systems which are compared
                gives it, below all that was shown

Carried on to where production has it, the line would again favour production: what the other system
finds is worth most where production ranks it lowest. (Of a reranker whose scores were to count for
.5, .7 and 1.0 of the ranking in place of .35, over 935 queries of homedepot_search and simulated
clicks: the log said +.0019, -.0022, -.0334 in that way, +.0028, +.0040, -.0073 in this one, and the
judgments +.0034, +.0047, -.0051, each +- .001 to .004; benchmarks/loop.md.)
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sidecar.errors import InputFileError
from training.clicks.log import ClickLog, FloatArray
from training.labels.candidates import rates
from training.labels.from_clicks import Grade, Labels

_DIGITS = 4


@dataclass(frozen=True, slots=True)
class ExpectedGrades:
    """Expected grades, 0 to 4. `shown`: by query and document; `first` and `decay`: a and b, of
    ranks counted from 0; `depth`: of the longest ranking that was shown."""

    shown: Mapping[str, Mapping[str, float]]
    first: float
    decay: float
    depth: int

    def grade(self, query_id: str, doc_id: str, rank: int) -> float:
        """`rank`, from 1: the best that it has; of what was not shown, which is below what was."""
        found = self.shown.get(query_id, {}).get(doc_id)
        return self.prior(max(rank, self.depth + 1)) if found is None else found

    def prior(self, rank: int) -> float:
        """Of a document of which nothing is known but its rank."""
        return self.first * math.exp(-self.decay * (rank - 1))

    def write(self, path: Path) -> None:
        """As `read_expected_grades` reads it."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


def read_expected_grades(path: Path) -> ExpectedGrades:
    """Raises InputFileError."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return ExpectedGrades(
            tree["shown"], float(tree["first"]), float(tree["decay"]), int(tree["depth"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputFileError(str(path), None, f"holds no expected grades: {error}") from error


def estimated(labels: Labels, log: ClickLog, queries: Collection[str]) -> ExpectedGrades:
    """Of all pairs of these queries that have a label of any kind, UNKNOWN among them."""
    grades = float(Grade.ORDERED) * rates(labels)
    shown: dict[str, dict[str, float]] = {}
    for query, document, grade in zip(
        labels.queries.tolist(), labels.documents.tolist(), grades.tolist(), strict=True
    ):
        name = log.query_names[query]
        if name in queries:
            shown.setdefault(name, {})[log.document_names[document]] = round(grade, _DIGITS)
    return ExpectedGrades(shown, *_line(_means_by_rank(labels, grades, log)), log.ranks)


def _means_by_rank(labels: Labels, grades: FloatArray, log: ClickLog) -> FloatArray:
    """(ranks,): of what was shown there; NaN where nothing has an estimate."""
    ids = labels.queries * len(log.document_names) + labels.documents
    place = np.searchsorted(ids, log.pair_ids).clip(max=max(len(ids) - 1, 0))
    known = log.shown & (ids[place] == log.pair_ids) if len(ids) else np.zeros_like(log.shown)
    weights = log.weights[:, None] * known
    total = weights.sum(axis=0)
    sums = (weights * np.where(known, grades[place] if len(ids) else 0.0, 0.0)).sum(axis=0)
    return np.where(total > 0, sums / np.maximum(total, 1e-12), np.nan)


def _line(means: FloatArray) -> tuple[float, float]:
    """(a, b) of a e^(-b (rank - 1)), least squares of logarithms; b is not below 0."""
    ranks = np.arange(len(means), dtype=np.float64)
    known = np.isfinite(means) & (means > 0)
    if not known.any():
        return 0.0, 0.0
    if known.sum() == 1:
        return float(means[known][0]), 0.0
    slope, first = np.polyfit(ranks[known], np.log(means[known]), 1)
    if slope >= 0:
        return float(np.exp(np.mean(np.log(means[known])))), 0.0
    return float(np.exp(first)), float(-slope)
