"""Labels of a log as candidates of training lists: what was clicked, and what was passed over.

    gain = c rate + (1 - c) (2^best - 1) / 15
    c    = examinations / (examinations + best_event_examinations)

`rate` is relevance x mean grade of a click, over that of the log's best pairs, at most 1. Relevance
is clicks over expected examinations (policy-aware: Oosterhuis, de Rijke, "Policy-Aware Unbiased
Learning to Rank for Top-k Rankings", SIGIR 2020), shrunk to what is shown at such ranks; the mean
grade tells clicks that became likes, carts and orders from those that did not. The best pairs are
the BEST_SHARE of the clicked ones with the highest products: so that a log whose users seldom go on
has gains up to 1, too, and one lucky pair does not make all others small.

`best` is the grade of the best event. A rate from a few examinations is mostly chance, and follows
the rank where its bias cannot be told; that somebody put the document in a cart does neither. Among
very many examinations something good happens to every document, and the rate says more. (Of clicks
simulated over a judged set, ten impressions a query, a linear model learnt .81 of what the labels
teach from rates alone and .85 from these gains with position bias, .70 and .78 with trust bias, .82
and .86 with the DCM.)

Somebody's rating is the gain: rating / 4. The weight is the share of a relevance that was seen, not
assumed. What was neither clicked nor passed over is not there: that nobody looked says nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.clicks.log import BoolArray, ClickLog, FloatArray, IntArray
from training.labels.from_clicks import Grade, Labels
from training.lists import ListCandidate, Source

BEST_SHARE = 0.02
_DIGITS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """(candidates,) each, by query. `clicked`: else passed over, with a gain and grade of 0."""

    queries: IntArray
    documents: IntArray
    gains: FloatArray
    grades: IntArray
    weights: FloatArray
    clicked: BoolArray


def candidates_of(
    labels: Labels, least_gain: float = 0.0, best_event_examinations: float = 30.0
) -> Candidates:
    """Clicked pairs with a gain below `least_gain` are left out: so many examinations for so few
    clicks are no sign of relevance, but clicks are none of the opposite."""
    gains = mixed_gains(labels, best_event_examinations)
    positive = (labels.grades > Grade.PASSED_OVER) & (gains > 0) & (gains >= least_gain)
    kept = positive | labels.negatives
    return Candidates(
        labels.queries[kept],
        labels.documents[kept],
        np.where(positive, gains, 0.0)[kept],
        np.where(positive, labels.grades, 0)[kept],
        np.where(labels.rated, 1.0, labels.weights)[kept],
        positive[kept],
    )


def mixed_gains(labels: Labels, best_event_examinations: float) -> FloatArray:
    """(pairs,) 0 to 1; see above."""
    best = np.maximum(labels.grades, 0)
    worth = (2.0**best - 1) / (2.0**Grade.ORDERED - 1)
    told = labels.examinations / np.maximum(labels.examinations + best_event_examinations, 1e-9)
    mixed = told * rates(labels) + (1 - told) * worth
    gains: FloatArray = np.where(labels.rated, best / Grade.ORDERED, mixed)
    return gains


def rates(labels: Labels) -> FloatArray:
    """(pairs,) 0 to 1: the labels' gains over those of the best pairs."""
    clicked = np.sort(labels.gains[labels.clicks > 0])[::-1]
    best = float(clicked[: max(1, round(BEST_SHARE * len(clicked)))].mean()) if len(clicked) else 0
    scaled: FloatArray = np.clip(labels.gains / max(best, 1e-9), 0.0, 1.0)
    return scaled


def by_query(found: Candidates, log: ClickLog) -> Iterator[tuple[str, list[ListCandidate]]]:
    """(query name, its candidates), for each query that has any."""
    begins = np.flatnonzero(np.diff(found.queries, prepend=-1)).tolist()
    rows = zip(
        (log.document_names[code] for code in found.documents.tolist()),
        np.round(found.gains, _DIGITS).tolist(),
        found.grades.tolist(),
        np.round(found.weights, _DIGITS).tolist(),
        found.clicked.tolist(),
        strict=True,
    )
    for begin, end in itertools.pairwise([*begins, len(found.queries)]):
        each = [next(rows) for _ in range(end - begin)]
        yield log.query_names[found.queries[begin]], [_candidate(*row) for row in each]


def _candidate(doc_id: str, gain: float, grade: int, weight: float, clicked: bool) -> ListCandidate:
    source = Source.CLICKED if clicked else Source.SKIPPED
    return ListCandidate(doc_id, gain, grade, weight, source)
