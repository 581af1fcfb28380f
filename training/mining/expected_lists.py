"""Candidates of train lists of queries that users asked, each with the gain that the log lets
expect of it: for losses that take the gain of every candidate (config.GRADED_LOSSES).

    clicked      the label's gain (labels/candidates.py)
    shown        expected grade / 4 (labels/expected_grades.py), whether it was passed over or not
    not shown    a e^(-b (k - 1)) / 4, k the rank that recall gives it, below all that was shown

Labels are of what was clicked and of what was passed over, so that a list of labels and hard
negatives takes the rest of what users saw, and all that they never saw, for irrelevant. Here each
document stands for what is expected of it, and none has to be left out because it may be relevant.
On homedepot_search with simulated users, over 2,326 judged queries and at one weight, a reranker
gained .0095 nDCG@10 by such lists, .0060 by those of labels and hard negatives, .0085 by the true
labels, .0049 by the weight alone (benchmarks/loop.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from training.labels.expected_grades import ExpectedGrades
from training.labels.from_clicks import Grade
from training.lists import ListCandidate, Source, TrainingList
from training.serving.client import RecallHit


def shown_candidates(labelled: TrainingList, shown: Mapping[str, float]) -> list[ListCandidate]:
    """What users were shown, the highest gains first; `shown`: expected grades by document id.

    What a judge calls irrelevant is not among them, whatever the log says of it.
    """
    labels = {each.doc_id: each for each in labelled.candidates}
    clicked = [each for each in labelled.positives if each.source is Source.CLICKED]
    found = [
        ListCandidate(each.doc_id, each.gain, each.grade, source=Source.CLICKED) for each in clicked
    ]
    for doc_id, grade in shown.items():
        label = labels.get(doc_id)
        if label is None or label.source is Source.SKIPPED:
            source = Source.SHOWN if label is None else Source.SKIPPED
            found.append(ListCandidate(doc_id, _gain(grade), 0, source=source))
    return sorted(found, key=lambda each: (-each.gain, each.doc_id))


def unshown_candidates(
    recalled: Iterable[RecallHit], grades: ExpectedGrades
) -> Iterator[ListCandidate]:
    """What was recalled and not shown, in this order."""
    for each in recalled:
        expected = grades.prior(max(each.rank, grades.depth + 1))
        yield ListCandidate(each.doc_id, _gain(expected), 0, source=Source.HARD)


def _gain(grade: float) -> float:
    return grade / float(Grade.ORDERED)
