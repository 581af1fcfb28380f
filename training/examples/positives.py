"""A query, what is relevant to it, and, if known, what is not.

    {"query": "...", "positive": "..." or [...], "negatives": [...]}

Each is a text, an object {"_id", "title", "text"}, or a list of these; "positive_ids" and
"negative_ids" name documents of the corpus. Tables may have columns negative_1, negative_2, ...
Known by other names in FlagEmbedding (pos, neg), sentence-transformers (anchor) and Tevatron
(positive_passages, negative_passages).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from training.examples.base import Passage, Row
from training.examples.fields import QUERY, has, in_words, passages_of

_POSITIVE = ("positive", "positives", "pos", "positive_passages")
_POSITIVE_IDS = ("positive_id", "positive_ids")
_NEGATIVE = ("negative", "negatives", "neg", "negative_passages")
_NEGATIVE_IDS = ("negative_id", "negative_ids")


@dataclass(frozen=True, slots=True)
class Positives:
    """Labels are 1 and 0."""

    name: str = "positives"
    about: str = '"query", "positive" (text, object or list), "negatives" if known'

    def recognises(self, row: Row) -> bool:
        """By a positive."""
        return has(row, QUERY) and has(row, (*_POSITIVE, *_POSITIVE_IDS))

    def read(self, row: Row) -> Iterator[tuple[Passage, float | str]]:
        """Positives first."""
        numbered = tuple(name for name in row if name.removeprefix("negative_").isdigit())
        positives = list(passages_of(row, _POSITIVE, _POSITIVE_IDS))
        negatives = list(passages_of(row, (*_NEGATIVE, *numbered), _NEGATIVE_IDS))
        if not positives:
            raise ValueError(f"no positive: give it in {in_words(_POSITIVE[:2])}")
        if set(positives) & set(negatives):
            raise ValueError("a passage that is positive and negative at once")
        yield from ((each, 1.0) for each in positives)
        yield from ((each, 0.0) for each in negatives)
