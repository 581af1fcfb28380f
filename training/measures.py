"""Measures by name: nDCG, RR, AP, R, P and Hit at any cut, of one ranking or of many at once.

"nDCG@10", "R(rel=2)@100" -> `parse_measure` -> `measure_ranking` for one ranking of document ids,
or `judged_rankings` and `measure_rankings` for all queries at once, in numpy. Both equal trec_eval,
which ir-measures calls: unjudged documents and judgments below 1 are not relevant, the gain of nDCG
is the judgment itself, and a judged query counts even where nothing was ranked for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidecar.errors import ConfigurationError
from sidecar.evaluation.measures import Judged, ndcg, recall, reciprocal_rank

Floats = npt.NDArray[np.float64]
Run = Mapping[str, Sequence[str]]
Qrels = Mapping[str, Judged]

_SPELLING = re.compile(r"(?P<name>[A-Za-z]+)(?:\(rel=(?P<level>\d+)\))?(?:@(?P<cut>\d+))?")
_SYNONYMS = {"Success": "Hit"}
_NEEDS_CUT = {"R", "P", "Hit"}


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure, its cut (None: the whole ranking) and the least judgment that is relevant."""

    name: str
    cut: int | None = None
    level: int = 1

    def __str__(self) -> str:
        level = f"(rel={self.level})" if self.level != 1 else ""
        cut = f"@{self.cut}" if self.cut is not None else ""
        return f"{self.name}{level}{cut}"


def parse_measure(spelling: str) -> Measure:
    """ "nDCG@10", "AP", "P(rel=2)@5"; ir-measures' Success is called Hit.

    Raises ConfigurationError for a name that is not known and for a cut that is missing.
    """
    match = _SPELLING.fullmatch(spelling.strip())
    name = _SYNONYMS.get(match["name"], match["name"]) if match else ""
    if match is None or name not in _ONE:
        raise ConfigurationError(
            f"measure {spelling!r} is not known: write one of {', '.join(_ONE)}, "
            "for instance nDCG@10, AP or P(rel=2)@5"
        )
    measure = Measure(name, int(match["cut"]) if match["cut"] else None, int(match["level"] or 1))
    _check_measure(measure, spelling)
    return measure


def _check_measure(measure: Measure, spelling: str) -> None:
    if measure.cut is None and measure.name in _NEEDS_CUT:
        raise ConfigurationError(f"measure {spelling!r} needs a cut: write {measure.name}@10")
    if measure.cut == 0 or measure.level == 0:
        raise ConfigurationError(f"measure {spelling!r}: cut and level count from 1")
    if measure.name == "nDCG" and measure.level != 1:
        raise ConfigurationError(f"measure {spelling!r}: nDCG is graded and has no level")


# -- one ranking


def average_precision(ranking: Sequence[str], judged: Judged, cut: int) -> float:
    """AP@cut: mean over all relevant documents of the precision at their rank; 0 beyond the cut.

    Source: trec_eval's `map_cut`, which divides by the relevant documents, however few fit.
    """
    relevant = sum(relevance >= 1 for relevance in judged.values())
    total, found = 0.0, 0
    for rank, doc_id in enumerate(ranking[:cut], start=1):
        if judged.get(doc_id, 0) >= 1:
            found += 1
            total += found / rank
    return total / relevant if relevant else 0.0


def precision(ranking: Sequence[str], judged: Judged, cut: int) -> float:
    """P@cut: relevant documents within the cut / cut, also where fewer were ranked (trec_eval)."""
    return sum(judged.get(doc_id, 0) >= 1 for doc_id in ranking[:cut]) / cut


def hit(ranking: Sequence[str], judged: Judged, cut: int) -> float:
    """Hit@cut: 1 with a relevant document within the cut, else 0 (trec_eval's `success`)."""
    return float(any(judged.get(doc_id, 0) >= 1 for doc_id in ranking[:cut]))


_ONE: dict[str, Callable[[Sequence[str], Judged, int], float]] = {
    "nDCG": ndcg,
    "RR": reciprocal_rank,
    "AP": average_precision,
    "R": recall,
    "P": precision,
    "Hit": hit,
}


def measure_ranking(measure: Measure, ranking: Sequence[str], judged: Judged) -> float:
    """The measure of one ranking: document ids, best first, without repetition."""
    if measure.level > 1:
        judged = {doc_id: int(value >= measure.level) for doc_id, value in judged.items()}
    cut = measure.cut or max(len(ranking), len(judged), 1)
    return _ONE[measure.name](ranking, judged, cut)


def to_ranking(scores: Mapping[str, float]) -> list[str]:
    """Document ids by score, best first; ties as trec_eval breaks them: the later id first.

    A tie is what is equal in float32, which is what trec_eval keeps of a score. A tie that kept
    the order of the candidates would flatter a model that scores all alike.
    """
    return sorted(scores, key=lambda doc_id: (np.float32(scores[doc_id]), doc_id), reverse=True)


# -- many rankings


@dataclass(frozen=True, slots=True)
class JudgedRankings:
    """Rankings as the judgments of what they hold; the rows are queries.

    `found`: (queries, depth), the judgment at each rank; 0 for unjudged and after the last.
    `judgments`: (queries, judged), all of the query's judgments, highest first, then 0.
    """

    query_ids: tuple[str, ...]
    found: Floats
    judgments: Floats


def judged_rankings(run: Run, qrels: Qrels, depth: int | None = None) -> JudgedRankings:
    """The queries of `qrels`, in their order; one that `run` does not have ranked nothing.

    `depth` leaves out what stands below it. Raises ValueError for a document ranked twice.
    """
    rows = []
    for query_id, judged in qrels.items():
        ranking = run.get(query_id, ())[:depth]
        if len(set(ranking)) < len(ranking):
            raise ValueError(f"query {query_id!r}: a document is ranked twice")
        rows.append([float(judged.get(doc_id, 0)) for doc_id in ranking])
    best = [sorted(map(float, judged.values()), reverse=True) for judged in qrels.values()]
    return JudgedRankings(tuple(qrels), _padded(rows), np.maximum(_padded(best), 0.0))


def _padded(rows: Sequence[Sequence[float]]) -> Floats:
    """(rows, longest), filled up with 0; at least one column."""
    matrix = np.zeros((len(rows), max(map(len, rows), default=0) or 1))
    for place, row in enumerate(rows):
        matrix[place, : len(row)] = row
    return matrix


def measure_rankings(measure: Measure, rankings: JudgedRankings) -> Floats:
    """(queries,): the measure of each query; equal to `measure_ranking`."""
    return _MANY[measure.name](rankings, measure.cut, measure.level)


def measure_run(measures: Sequence[Measure], run: Run, qrels: Qrels) -> dict[str, dict[str, float]]:
    """Measure -> query id -> value, for the queries of `qrels`; a missing ranking counts 0."""
    rankings = judged_rankings(run, qrels)
    return {
        str(measure): dict(
            zip(rankings.query_ids, measure_rankings(measure, rankings).tolist(), strict=True)
        )
        for measure in measures
    }


def _ndcg_rows(rankings: JudgedRankings, cut: int | None, level: int) -> Floats:
    return _share(_dcg_rows(rankings.found, cut), _dcg_rows(rankings.judgments, cut))


def _dcg_rows(gains: Floats, cut: int | None) -> Floats:
    kept = np.maximum(gains[:, :cut], 0.0)
    value: Floats = kept @ (1.0 / np.log2(np.arange(2, kept.shape[1] + 2)))
    return value


def _reciprocal_rank_rows(rankings: JudgedRankings, cut: int | None, level: int) -> Floats:
    relevant = rankings.found[:, :cut] >= level
    return np.where(relevant.any(axis=1), 1.0 / (relevant.argmax(axis=1) + 1), 0.0)


def _average_precision_rows(rankings: JudgedRankings, cut: int | None, level: int) -> Floats:
    relevant = rankings.found[:, :cut] >= level
    precisions = relevant.cumsum(axis=1) / np.arange(1, relevant.shape[1] + 1)
    return _share(_sums(precisions * relevant), _relevant(rankings, level))


def _recall_rows(rankings: JudgedRankings, cut: int | None, level: int) -> Floats:
    return _share(_sums(rankings.found[:, :cut] >= level), _relevant(rankings, level))


def _precision_rows(rankings: JudgedRankings, cut: int | None, level: int) -> Floats:
    return _sums(rankings.found[:, :cut] >= level) / (cut or rankings.found.shape[1])


def _hit_rows(rankings: JudgedRankings, cut: int | None, level: int) -> Floats:
    return np.where(_sums(rankings.found[:, :cut] >= level) > 0, 1.0, 0.0)


def _relevant(rankings: JudgedRankings, level: int) -> Floats:
    """(queries,): how many relevant documents are known."""
    return _sums(rankings.judgments >= level)


def _sums(matrix: npt.NDArray[np.float64] | npt.NDArray[np.bool_]) -> Floats:
    """(rows,): the sum of each row."""
    sums: Floats = matrix.sum(axis=1, dtype=np.float64)
    return sums


def _share(part: Floats, whole: Floats) -> Floats:
    """part / whole, 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


_MANY: dict[str, Callable[[JudgedRankings, int | None, int], Floats]] = {
    "nDCG": _ndcg_rows,
    "RR": _reciprocal_rank_rows,
    "AP": _average_precision_rows,
    "R": _recall_rows,
    "P": _precision_rows,
    "Hit": _hit_rows,
}
