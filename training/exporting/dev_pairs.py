"""The dev lists as one row of pairs, how a model scores them, and what these scores are worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidecar.errors import InputFileError
from training.fine_tuning.opening import Opened
from training.fine_tuning.scoring import encode_passages, encode_queries, score_pairs
from training.lists import TrainingList
from training.measures import measure_run, parse_measure, to_ranking

Floats = npt.NDArray[np.float64]
MEASURE = "nDCG@10"


@dataclass(frozen=True, slots=True)
class DevPairs:
    """Lists whose candidates are not all alike, and their passages by document id.

    Scores of pairs, (pairs,), are in the order of the lists and of their candidates.
    """

    lists: Sequence[TrainingList]
    passages: Mapping[str, str]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(query, passage). Raises InputFileError for a document without one."""
        return [
            (one.query, self._passage(each.doc_id)) for one in self.lists for each in one.candidates
        ]

    @property
    def relevant(self) -> list[bool]:
        """Whether each is, from half of the best grade on."""
        best = max((each.grade for one in self.lists for each in one.candidates), default=0)
        return [2 * each.grade >= max(best, 1) for one in self.lists for each in one.candidates]

    def first(self, pairs: int) -> DevPairs:
        """Whole lists from the start, until there are as many pairs."""
        count, taken = 0, []
        for one in self.lists:
            if count >= pairs:
                break
            taken.append(one)
            count += len(one.candidates)
        return DevPairs(taken, self.passages)

    def by_list(self, scores: Floats) -> Iterator[tuple[TrainingList, Floats]]:
        """The scores of each list."""
        start = 0
        for one in self.lists:
            end = start + len(one.candidates)
            yield one, scores[start:end]
            start = end

    def measured_by_list(self, scores: Floats) -> Floats:
        """(lists,): MEASURE of each list's candidates ranked by score, graded by what is known."""
        run, qrels = {}, {}
        for number, (one, part) in enumerate(self.by_list(scores)):
            doc_ids = (each.doc_id for each in one.candidates)
            run[str(number)] = to_ranking(dict(zip(doc_ids, part.tolist(), strict=True)))
            qrels[str(number)] = one.judged
        measured = measure_run([parse_measure(MEASURE)], run, qrels)[MEASURE]
        return np.asarray([measured[str(number)] for number in range(len(self.lists))])

    def measured(self, scores: Floats) -> float:
        """The mean of `measured_by_list`; 0 without lists."""
        return float(self.measured_by_list(scores).mean()) if self.lists else 0.0

    def _passage(self, doc_id: str) -> str:
        if doc_id not in self.passages:
            raise InputFileError("passages.jsonl", None, f"has no document {doc_id!r} of the lists")
        return self.passages[doc_id]


def telling_pairs(lists: Sequence[TrainingList], passages: Mapping[str, str]) -> DevPairs:
    """Of the lists whose candidates have several grades: others rank neither well nor badly."""
    kept = [one for one in lists if len({each.grade for each in one.candidates}) > 1]
    return DevPairs(kept, passages)


def pair_values(opened: Opened, pairs: Sequence[tuple[str, str]]) -> Floats:
    """(pairs,): logits of a cross-encoder, cosines of a bi-encoder."""
    if opened.spec.kind == "cross-encoder":
        return score_pairs(opened, pairs)
    queries = list(dict.fromkeys(query for query, _ in pairs))
    passages = list(dict.fromkeys(passage for _, passage in pairs))
    left = dict(zip(queries, encode_queries(opened, queries), strict=True))
    right = dict(zip(passages, encode_passages(opened, passages), strict=True))
    cosines = [_cosine(left[query], right[passage]) for query, passage in pairs]
    return np.asarray(cosines, dtype=np.float64)


def _cosine(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / max(length, 1e-12)
