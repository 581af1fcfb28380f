"""What is known to be relevant, by the text of a query: no negative is taken from it.

Queries that read the same count as one, whatever their ids, splits and sources. Besides what labels
say this is whatever was clicked even once, which may be too little for a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from training.clicks.log import ClickLog
from training.lists import ListCandidate, Source, TrainingList
from training.queries import normalised

NOBODY: Mapping[str, ListCandidate] = {}


class KnownRelevance:
    """Filled by `add_labels` and `add_clicks`, then asked."""

    def __init__(self) -> None:
        self._labels: dict[str, dict[str, ListCandidate]] = {}
        self._clicked: dict[str, set[str]] = {}

    def add_labels(self, lists: Iterable[TrainingList]) -> None:
        """Of all splits; of two labels of a pair the one with the higher gain holds."""
        for one in lists:
            labels = self._labels.setdefault(normalised(one.query), {})
            for candidate in one.candidates:
                before = labels.get(candidate.doc_id)
                if before is None or candidate.gain > before.gain:
                    labels[candidate.doc_id] = candidate

    def add_clicks(self, log: ClickLog, texts: Mapping[str, str]) -> None:
        """`texts`: of queries, by their names in the log; those without one are left out."""
        clicked = log.clicks | log.carts | log.orders
        rows, ranks = np.nonzero(clicked & log.shown)
        pairs = np.unique(np.stack([log.queries[rows], log.documents[rows, ranks]]), axis=1)
        for query, document in pairs.T.tolist():
            text = texts.get(log.query_names[query])
            if text is not None:
                names = self._clicked.setdefault(normalised(text), set())
                names.add(log.document_names[document])

    def labels(self, query: str) -> Mapping[str, ListCandidate]:
        """Labels by document id of all queries that read like this one."""
        return self._labels.get(normalised(query), NOBODY)

    def relevant(self, query: str) -> set[str]:
        """Documents that were ever judged relevant for it, or clicked or ordered; what a judge
        calls irrelevant is that, whoever clicked."""
        labels = self.labels(query)
        good = {doc_id for doc_id, label in labels.items() if label.gain > 0}
        clicked = self._clicked.get(normalised(query), set())
        return good | {each for each in clicked if not _is_judged(labels.get(each))}


def _is_judged(label: ListCandidate | None) -> bool:
    return label is not None and label.source is Source.JUDGED
