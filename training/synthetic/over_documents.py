"""Queries over given documents, made of their own words.

A query is what somebody who knows the document might type: words of its title, keywords of a
sentence, a piece of a sentence, some of it dropped or put in other words. It has a word that few
documents have, so that it means its own; that one is worth 2, and others that have all of the words
that it was made of are worth 1.

A smoke test, no evidence: such queries share words with what they look for, as those of people who
do not know the document do not.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Mapping, Sequence

from training.synthetic.base import MadeQuery, Row, made_prefix
from training.synthetic.from_template import with_synonym
from training.synthetic.words import STOP_WORDS, SYNONYMS

TRIES = 8  # for a query of one document
SYNONYM_SHARE = 0.5
FEW_SHARE = 0.02  # of the documents: a word in no more of them tells some from others
MOST_OTHERS = 20  # documents worth 1; a query that fits more says too little
READ_CHARACTERS = 4000
_WORD = re.compile(r"[^\W_]+(?:['.-][^\W_]+)*")
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+")
Style = Callable[[str, Sequence[str], random.Random], list[str]]


def queries_over(
    documents: Sequence[Row], count: int, seed: int, split: str = "train"
) -> list[MadeQuery]:
    """`count` queries, fewer if the documents do not give so many; no two read the same. The same
    for the same documents, count, seed and split."""
    source = random.Random(f"{seed}/{split}")
    index = _Index(documents)
    order = source.sample(range(len(documents)), len(documents))
    made: dict[str, Mapping[str, int]] = {}
    for number in itertools.chain.from_iterable(itertools.repeat(order, TRIES)):
        if len(made) == count:
            break
        query = index.query(number, source)
        if query:
            made.setdefault(*query)
    return [
        MadeQuery(f"{made_prefix(split)}{number:06d}", text, relevances)
        for number, (text, relevances) in enumerate(made.items())
    ]


class _Index:
    """Which documents have which words."""

    def __init__(self, documents: Sequence[Row]) -> None:
        self._documents = documents
        self._with: dict[str, set[int]] = {}
        for number, row in enumerate(documents):
            for word in set(_words(_text(row))):
                self._with.setdefault(word, set()).add(number)
        self._few = max(2, round(FEW_SHARE * len(documents)))

    def query(self, number: int, source: random.Random) -> tuple[str, Mapping[str, int]] | None:
        """(text, grade by document id), None: what was tried says too little."""
        row = self._documents[number]
        words = source.choice(_STYLES)(row["title"], _sentences(row), source)
        content = [word for word in dict.fromkeys(words) if word not in STOP_WORDS]
        if not content or min(len(self._with.get(word, ())) for word in content) > self._few:
            return None
        others = set.intersection(*(self._with.get(word, set()) for word in content)) - {number}
        if len(others) > MOST_OTHERS:
            return None
        relevances = {row["_id"]: 2} | {self._documents[o]["_id"]: 1 for o in sorted(others)}
        return with_synonym(" ".join(words), SYNONYMS, source, SYNONYM_SHARE), relevances


def _text(row: Row) -> str:
    return f"{row['title']}\n{row['text'][:READ_CHARACTERS]}"


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _sentences(row: Row) -> list[str]:
    parts = _SENTENCE.split(row["text"][:READ_CHARACTERS])
    return [part for part in parts if len(_words(part)) >= 4] or [row["title"] or row["text"]]


def _of_title(title: str, sentences: Sequence[str], source: random.Random) -> list[str]:
    """Up to four words that count, in order."""
    return _some(_words(title) or _words(sentences[0]), source, 4)


def _keywords(_: str, sentences: Sequence[str], source: random.Random) -> list[str]:
    """Two to five words of a sentence that count."""
    return _some(_words(source.choice(sentences)), source, 5)


def _piece(_: str, sentences: Sequence[str], source: random.Random) -> list[str]:
    """Four to eight neighbouring words."""
    words = _words(source.choice(sentences))
    length = min(len(words), source.randint(4, 8))
    begin = source.randint(0, len(words) - length)
    return words[begin : begin + length]


def _thinned(title: str, sentences: Sequence[str], source: random.Random) -> list[str]:
    """A piece of which a third of the words are gone."""
    piece = _piece(title, sentences, source)
    return [word for word in piece if source.random() < 0.67] or piece


def _some(words: Sequence[str], source: random.Random, most: int) -> list[str]:
    content = [word for word in dict.fromkeys(words) if word not in STOP_WORDS and len(word) > 1]
    count = min(len(content), source.randint(2, most))
    return [content[place] for place in sorted(source.sample(range(len(content)), count))]


_STYLES: tuple[Style, ...] = (_of_title, _keywords, _piece, _thinned)
