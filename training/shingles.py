"""How much two texts have in common, for documents that are nearly the same."""

from __future__ import annotations

import re

SHINGLE_WORDS = 3
_WORD = re.compile(r"\w+")
Shingles = frozenset[tuple[str, ...]]


def shingles(text: str) -> Shingles:
    """Its runs of three words, without case and punctuation; of a shorter text, all of it."""
    words = _WORD.findall(text.lower())
    starts = range(max(1, len(words) - SHINGLE_WORDS + 1))
    return frozenset(tuple(words[start : start + SHINGLE_WORDS]) for start in starts)


def jaccard(one: Shingles, other: Shingles) -> float:
    """Shared shingles of all, 0 to 1. Broder, On the resemblance and containment of documents,
    1997."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
