"""Stage 1b: queries made from text alone, in the styles that people and programs type.

Titles, sentences, keywords out of a sentence and question-like forms. Style is drawn at random per
query, so a model sees every style over every source.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from training.carried.collect import SourceDocument
from training.carried.text import content_words, cut_windows, join_passage, split_sentences

_QUESTION_OPENINGS = (
    "what is",
    "what are",
    "what causes",
    "what does",
    "how to",
    "how does",
    "how long is",
    "how many",
    "how much",
    "why is",
    "why does",
    "when is",
    "where is",
    "who is",
    "which",
    "is",
    "does",
    "can",
    "definition of",
    "types of",
    "difference between",
    "meaning of",
)
_LONGEST_QUERY_WORDS = 32
_TITLE_SHARE = 0.35
# So much of the text that a query was made from tells a passage that holds it.
_VERBATIM_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document as a model reads it; `doc_id` says whose."""

    passage_id: str
    doc_id: str
    text: str


@dataclass(frozen=True, slots=True)
class PseudoQuery:
    """A query made out of `made_from`, a part of a document."""

    text: str
    made_from: str


@dataclass(frozen=True, slots=True)
class MiningQuery:
    """What to search for, and the relevance of what is known; `source` is "judged" or "made"."""

    query_id: str
    text: str
    source: str
    relevance: Mapping[str, int]


def cut_passages(
    document: SourceDocument, rng: random.Random, most_words: int = 55, most_windows: int = 3
) -> Iterator[Passage]:
    """Short windows of a document, about half under its title; products' titles alone too."""
    windows = cut_windows(split_sentences(document.text), most_words)
    texts = [
        join_passage(document.title if rng.random() < 0.5 else "", window)
        for window in rng.sample(windows, min(most_windows, len(windows)))
    ]
    if document.source.startswith("esci") or not texts:
        texts.append(join_passage(document.title, ""))
    for number, text in enumerate(texts):
        yield Passage(f"{document.key}#{number}", document.key, text)


def make_queries(document: SourceDocument, count: int, rng: random.Random) -> Iterator[PseudoQuery]:
    """Up to `count` queries of random styles; empty and repeated ones are left out."""
    sentences = split_sentences(document.text) or [document.title]
    title = readable_title(document)
    made: set[str] = set()
    for _ in range(count):
        style = rng.choice(_STYLES)
        from_title = rng.random() < _TITLE_SHARE and title
        origin = title if from_title else rng.choice(sentences)
        text = style(origin, rng).strip()
        if text and text not in made:
            made.add(text)
            yield PseudoQuery(text, origin)


def queries_over_documents(
    documents: Sequence[SourceDocument], count: int, rng: random.Random
) -> list[MiningQuery]:
    """A made query for each of `count` documents.

    That its document holds the query's very words proves no skill, so nothing counts as relevant.
    """
    chosen = rng.sample(list(documents), min(count, len(documents)))
    made = [query for document in chosen for query in make_queries(document, 1, rng)]
    return [MiningQuery(f"made-{number}", one.text, "made", {}) for number, one in enumerate(made)]


def queries_over_passages(
    documents: Sequence[SourceDocument], counts: Mapping[str, int], rng: random.Random
) -> tuple[list[Passage], list[MiningQuery]]:
    """Short passages of all documents, and made queries, so many a document by source.

    Relevant are the other passages of the query's document, not the one it was taken from.
    """
    passages: list[Passage] = []
    queries: list[MiningQuery] = []
    for document in documents:
        own = list(cut_passages(document, rng))
        passages += own
        for made in make_queries(document, counts[document.source], rng):
            told = made.made_from[:_VERBATIM_CHARACTERS]
            relevance = {one.passage_id: 1 for one in own if told not in one.text}
            queries.append(MiningQuery(f"made-{len(queries)}", made.text, "made", relevance))
    return passages, queries


def readable_title(document: SourceDocument) -> str:
    """The title as words: dotted names are split, their last two parts kept."""
    if document.source != "python":
        return document.title
    return " ".join(document.title.split(".")[-2:]).replace("_", " ").strip()


def _whole(origin: str, _rng: random.Random) -> str:
    return " ".join(origin.split()[:_LONGEST_QUERY_WORDS]).rstrip(".")


def _part(origin: str, rng: random.Random) -> str:
    """A run of 4 to 12 words."""
    words = origin.split()
    length = min(len(words), rng.randint(4, 12))
    start = rng.randint(0, len(words) - length)
    return " ".join(words[start : start + length]).strip(".,;:()")


def _thinned(origin: str, rng: random.Random) -> str:
    """The sentence with about a third of its words dropped."""
    return " ".join(word for word in origin.split()[:_LONGEST_QUERY_WORDS] if rng.random() < 0.65)


def _keywords(origin: str, rng: random.Random) -> str:
    """1 to 5 content words, mostly in order, lower case."""
    words = content_words(origin)
    chosen = sorted(rng.sample(range(len(words)), min(len(words), rng.randint(1, 5))))
    if rng.random() < 0.3:
        rng.shuffle(chosen)
    return " ".join(words[position] for position in chosen).lower()


def _question(origin: str, rng: random.Random) -> str:
    """A question's opening before 1 to 4 neighbouring content words."""
    words = content_words(origin)
    length = min(len(words), rng.randint(1, 4))
    start = rng.randint(0, len(words) - length)
    opening = rng.choice(_QUESTION_OPENINGS)
    return f"{opening} {' '.join(words[start : start + length])}".lower() if length else ""


_STYLES: tuple[Callable[[str, random.Random], str], ...] = (
    _whole,
    _part,
    _thinned,
    _keywords,
    _question,
)
