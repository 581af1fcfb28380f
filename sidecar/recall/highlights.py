"""Highlights: the fragments of a text that show why it was found, the query's words marked.

text -> marks (where words of the query stand) -> the best window of marks that fits a fragment,
again and again in what is left -> each cut at the borders of sentences or words around it. Texts
are as stored; no markup is added. Nothing here knows of an index: words count alike, however rare.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sidecar.recall.analyzers import MAX_TERM_CHARACTERS
from sidecar.recall.fragment_cut import cut, is_border
from sidecar.recall.places import places, words
from sidecar.types import Schema

# The first so many marks of a text are looked at: one that has more has them wherever one looks.
MAX_MARKS = 20_000
# Of a text, and of all texts of a ranking, so many code points are read: Chinese takes seconds for
# a million.
MAX_TEXT_CHARACTERS = 50_000
MAX_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Highlighting:
    """What is to be highlighted: text fields, and at most so many fragments of so many code points
    of each."""

    fields: tuple[str, ...]
    fragments: int = 1
    fragment_characters: int = 160


@dataclass(frozen=True, slots=True)
class Mark:
    """Where words of the query stand, and their terms: several where places overlap."""

    start: int
    end: int
    terms: frozenset[str]


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a text. `spans` are (start, end) in it, sorted and disjoint, in code points."""

    text: str
    spans: tuple[tuple[int, int], ...]


class Highlighter:
    """The highlights of one query. The same text is worked on once, however often it is asked for;
    use one for one request, in one thread at a time. Of long texts the begin is read, and of many
    the first ones."""

    def __init__(self, query: str, schema: Schema, wanted: Highlighting) -> None:
        analyzers = {field.name: field.analyzer for field in schema.text_fields}
        self._analyzers = {name: analyzers[name] for name in wanted.fields}
        self._words = {name: words(name, query) for name in set(self._analyzers.values())}
        self._wanted = wanted
        self._known: dict[tuple[str, str], list[Fragment]] = {}
        self._characters_left = MAX_CHARACTERS

    def begin_ranking(self) -> None:
        """Another ranking's texts follow, of which as much is read, known or not: what a hit gets
        does not depend on the rankings before."""
        self._characters_left = MAX_CHARACTERS

    def highlights(self, fields: Mapping[str, str]) -> list[tuple[str, Fragment]]:
        """(field, fragment) of a document's texts: fields in the order asked, best first in each;
        none of a field without a word of the query."""
        return [
            (name, fragment)
            for name, analyzer_name in self._analyzers.items()
            for fragment in self._fragments(analyzer_name, fields.get(name, ""))
        ]

    def _fragments(self, analyzer_name: str, text: str) -> list[Fragment]:
        text = _begin(text)
        key = (analyzer_name, text)
        self._characters_left -= len(text)
        if self._characters_left < 0:
            return []
        if key not in self._known:
            most = self._wanted.fragment_characters
            marks = marks_of(text, analyzer_name, self._words[analyzer_name], most)
            self._known[key] = fragments_of(text, marks, self._wanted.fragments, most)
        return self._known[key]


def _begin(text: str) -> str:
    """The part of a text that is read, cut after a word where one ends near."""
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text
    near = range(MAX_TEXT_CHARACTERS, MAX_TEXT_CHARACTERS - MAX_TERM_CHARACTERS, -1)
    return text[: next((at for at in near if is_border(text, at)), MAX_TEXT_CHARACTERS)]


def marks_of(text: str, analyzer_name: str, wanted: frozenset[str], most: int) -> list[Mark]:
    """Where wanted terms stand in a text, sorted; overlapping places are one mark of at most `most`
    code points, and a place that would make it longer is left out."""
    found = places(analyzer_name, text, wanted)
    marks: list[Mark] = []
    for place in sorted(found, key=lambda place: (place.start, place.end)):
        terms = frozenset((place.term,))
        if marks and place.start < marks[-1].end:
            last = marks[-1]
            if max(last.end, place.end) - last.start <= most:
                marks[-1] = Mark(last.start, max(last.end, place.end), last.terms | terms)
        else:
            marks.append(Mark(place.start, place.end, terms))
    return marks


def fragments_of(text: str, marks: Sequence[Mark], count: int, most: int) -> list[Fragment]:
    """At most `count` fragments of at most `most` code points, disjoint: each has as many different
    terms, then as many marks, as can be had of what is left, then is the first.

    A word longer than a fragment is not shown.
    """
    fitting = [mark for mark in marks[:MAX_MARKS] if mark.end - mark.start <= most]
    free = [(0, len(text))]
    fragments: list[Fragment] = []
    while len(fragments) < count:
        windows = [window for part in free if (window := _best(fitting, part, most)) is not None]
        if not windows:
            break
        best = max(windows, key=lambda window: window.rank)
        low, high = best.part
        start, end = cut(text, (low, high), (best.first, best.last), most)
        fragments.append(_fragment(text, _within(fitting, start, end), start, end))
        free.remove(best.part)
        free += [(low, start), (end, high)]
    return fragments


@dataclass(frozen=True, slots=True)
class _Window:
    """Marks from `first` to `last` in a part of the text that is still free."""

    rank: tuple[int, int, int]
    first: int
    last: int
    part: tuple[int, int]


def _best(marks: Sequence[Mark], part: tuple[int, int], most: int) -> _Window | None:
    """The best of the windows that begin at a mark and go as far as a fragment does."""
    inside = _within(marks, *part)
    best = max(_windows(inside, most), default=None)
    if best is None:
        return None
    rank, begin, end = best
    return _Window(rank, inside[begin].start, inside[end - 1].end, part)


def _windows(marks: Sequence[Mark], most: int) -> Iterator[tuple[tuple[int, int, int], int, int]]:
    """(rank, index of the first mark, that after the last)."""
    held: Counter[str] = Counter()
    end = 0
    for begin, mark in enumerate(marks):
        while end < len(marks) and marks[end].end - mark.start <= most:
            held.update(marks[end].terms)
            end += 1
        yield (len(held), end - begin, -mark.start), begin, end
        for term in mark.terms:
            held[term] -= 1
            if not held[term]:
                del held[term]


def _within(marks: Sequence[Mark], low: int, high: int) -> Sequence[Mark]:
    """Marks that lie in text[low:high] as a whole."""
    first = bisect.bisect_left(marks, low, key=lambda mark: mark.start)
    last = bisect.bisect_right(marks, high, key=lambda mark: mark.end)
    return marks[first:last]


def _fragment(text: str, marks: Sequence[Mark], start: int, end: int) -> Fragment:
    spans = tuple((mark.start - start, mark.end - start) for mark in marks)
    return Fragment(text[start:end], spans)
