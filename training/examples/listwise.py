"""A query with a list of documents and a label for each.

    {"query": "...", "documents": ["...", {"_id": "...", "text": "..."}], "labels": [3, 0]}

"doc_ids" in place of documents names those of the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from training.examples.base import Passage, Row
from training.examples.fields import (
    QUERY,
    first_of,
    has,
    in_words,
    label_of,
    list_of,
    to_passage_of,
)

_DOCUMENTS = ("documents", "passages", "docs", "candidates")
_IDS = ("doc_ids", "document_ids", "passage_ids")
_LABELS = ("labels", "scores", "relevances", "grades")


@dataclass(frozen=True, slots=True)
class Listwise:
    """As many labels a row as documents."""

    name: str = "listwise"
    about: str = '"query", "documents" or "doc_ids", "labels": lists of one length'

    def recognises(self, row: Row) -> bool:
        """By lists of documents and labels."""
        return has(row, QUERY) and has(row, (*_DOCUMENTS, *_IDS)) and has(row, _LABELS)

    def read(self, row: Row) -> Iterator[tuple[Passage, float | str]]:
        """In the list's order."""
        passages, labels = list(_passages(row)), _labels(row)
        if not passages or len(passages) != len(labels):
            raise ValueError(f"{len(passages)} documents and {len(labels)} labels: give one each")
        yield from zip(passages, labels, strict=True)


def _passages(row: Row) -> Iterator[Passage]:
    texts, ids = first_of(row, _DOCUMENTS), first_of(row, _IDS)
    if texts:
        yield from (to_passage_of(each, texts) for each in list_of(row, texts))
    elif ids:
        yield from (Passage(doc_id=str(each)) for each in list_of(row, ids))
    else:
        raise ValueError(f"no documents: give them in {in_words((_DOCUMENTS[0], _IDS[0]))}")


def _labels(row: Row) -> list[float | str]:
    name = first_of(row, _LABELS)
    if not name:
        raise ValueError(f"no labels: give them in {in_words(_LABELS[:2])}")
    return [label_of(each, name) for each in list_of(row, name)]
