"""Where in a text the terms of an analyzer stand.

Analyzers read a folded text (NFKC, lower case), which may be longer or shorter than the text: "ﬁ"
becomes two characters, "e" with a combining accent one. So terms are found in the folded text, and
their places mapped back: to whole characters of the text, each with what combines with it. Places
are counted in code points.
"""

from __future__ import annotations

import bisect
import functools
import unicodedata
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from sidecar.recall.analyzers import analyzer, english_terms, fold, han_words, placed_pieces

_Placed = tuple[str, int, int]  # (term, first code point, the one after the last)


@dataclass(frozen=True, slots=True)
class Place:
    """A term, and the part of the text, `text[start:end]`, that it was read from."""

    term: str
    start: int
    end: int


def places(analyzer_name: str, text: str, wanted: Container[str] | None = None) -> list[Place]:
    """The terms that an analyzer gives for a text, each with its place, words in their order: all,
    or those that are wanted.

    Raises ConfigurationError for an unknown analyzer.
    """
    analyzer(analyzer_name)
    folded = fold(text)
    found = [each for each in _PLACED[analyzer_name](folded) if wanted is None or each[0] in wanted]
    if not found:
        return []
    begins, ends = _mapping(text, folded)
    return [Place(term, begins[start], ends[end - 1]) for term, start, end in found]


def words(analyzer_name: str, query: str) -> frozenset[str]:
    """The terms of a query that a reader takes for its words.

    Those of the analyzer; but of Han characters the words only: a bigram across two is none, nor is
    each character. A word that has no words in it is found by its bigrams, too, since it may be cut
    otherwise where it stands in a text.
    """
    analyzer(analyzer_name)
    return frozenset(_WORDS[analyzer_name](fold(query)))


def _english(folded: str) -> Iterator[_Placed]:
    for is_han, piece, start in placed_pieces(folded):
        if is_han:
            yield from _grams(piece, 1, start)
        else:
            for term in english_terms(piece):
                yield term, start, start + len(piece)


def _chinese(folded: str) -> Iterator[_Placed]:
    for is_han, piece, start in placed_pieces(folded):
        if is_han:
            for term, offset in han_words(piece):
                yield term, start + offset, start + offset + len(term)
            yield from _grams(piece, 1, start)
            yield from _grams(piece, 2, start)
        else:
            for term in english_terms(piece):
                yield term, start, start + len(piece)


def _grams(run: str, size: int, start: int) -> Iterator[_Placed]:
    for at in range(len(run) - size + 1):
        yield run[at : at + size], start + at, start + at + size


def _chinese_words(folded: str) -> Iterator[str]:
    for is_han, piece, _ in placed_pieces(folded):
        if is_han:
            yield from _words_of_run(piece)
        else:
            yield from english_terms(piece)


def _words_of_run(run: str) -> Iterator[str]:
    found = han_words(run)
    by_start = sorted((start, term) for term, start in found)
    for term, start in found:
        yield term
        first = bisect.bisect_left(by_start, (start, ""))
        beyond = bisect.bisect_left(by_start, (start + len(term), ""))
        if all(one == term for _, one in by_start[first:beyond]):
            yield from (gram for gram, _, _ in _grams(term, 2, 0))


_PLACED: dict[str, Callable[[str], Iterator[_Placed]]] = {"english": _english, "chinese": _chinese}
_WORDS: dict[str, Callable[[str], Iterator[str]]] = {
    "english": lambda folded: (term for term, _, _ in _english(folded)),
    "chinese": _chinese_words,
}


def _mapping(text: str, folded: str) -> tuple[Sequence[int], Sequence[int]]:
    """For each character of the folded text, where what it was made of begins and ends."""
    if all(_folded_length(one) == 1 and not _combines(one) for one in set(text)):
        return range(len(text)), range(1, len(text) + 1)
    begins: list[int] = []
    ends: list[int] = []
    for start, end in _clusters(text):
        length = _folded_length(text[start:end]) if end - start == 1 else len(fold(text[start:end]))
        begins.extend([start] * length)
        ends.extend([end] * length)
    if len(begins) != len(folded):  # something combines that this Python does not call a mark
        return [0] * len(folded), [len(text)] * len(folded)
    return begins, ends


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Parts of a text that fold on their own: folded one by one they make the folded text."""
    start = 0
    for position in range(1, len(text)):
        if not _combines(text[position]):
            yield start, position
            start = position
    yield start, len(text)


@functools.lru_cache(maxsize=1 << 16)
def _folded_length(character: str) -> int:
    return len(fold(character))


@functools.lru_cache(maxsize=1 << 16)
def _combines(character: str) -> bool:
    """Whether it may become one with the character before it: a mark, a vowel or final of Hangul,
    a vowel of Kirat Rai (Unicode 16). Otherwise NFKC is that of the parts: Unicode Standard Annex
    15, section 9."""
    first = unicodedata.normalize("NFKD", character)[0]
    marks = unicodedata.category(first)[0] == "M"
    return marks or "\u1160" <= first <= "\u11ff" or first == "\U00016d67"
