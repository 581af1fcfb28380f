"""A pair with its label: 0 or 1, a grade, the name of a grade, or any number.

    {"query": "...", "passage": "..." or {...}, "score": 1}

The document may be named by "doc_id" instead of, or beside, its words ("title", "passage").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from training.examples.base import Passage, Row
from training.examples.fields import (
    DOC_ID,
    LABEL,
    PASSAGE,
    QUERY,
    first_of,
    has,
    in_words,
    label_of,
    to_passage_of,
)


@dataclass(frozen=True, slots=True)
class Pairs:
    """One label a row."""

    name: str = "pairs"
    about: str = '"query", "passage" or "doc_id", "score" (also label, relevance, grade)'

    def recognises(self, row: Row) -> bool:
        """By a passage and a label."""
        return has(row, QUERY) and has(row, (*PASSAGE, *DOC_ID)) and has(row, LABEL)

    def read(self, row: Row) -> Iterator[tuple[Passage, float | str]]:
        """The one."""
        name = first_of(row, LABEL)
        if not name:
            raise ValueError(f"no label: give it in {in_words(LABEL[:3])}")
        yield _passage(row), label_of(row[name], name)


def _passage(row: Row) -> Passage:
    text, doc_id = first_of(row, PASSAGE), first_of(row, DOC_ID)
    if not text and not doc_id:
        raise ValueError(f"no passage: give it in {in_words((PASSAGE[0], DOC_ID[0]))}")
    found = to_passage_of(row[text], text) if text else Passage()
    title = row.get("title") or found.title
    if not isinstance(title, str):
        raise ValueError("title: no text")
    return Passage(str(row[doc_id]) if doc_id else found.doc_id, title, found.text)
