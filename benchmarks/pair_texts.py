"""Real pairs for benchmarks: queries with what BM25 recalls for them, cut so that nobody cuts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bm25s

from sidecar.demo.library import read_library
from sidecar.demo.queries import QUERIES
from sidecar.models.tokenizing import Tokenizer
from sidecar.recall.analyzers import analyzer
from sidecar.types import Document, to_passage

MOST_TOKENS = 200


def library_requests(
    count: int, passages: int, tokenizer: Tokenizer
) -> list[tuple[str, list[str]]]:
    """Queries about Python, and the documentation of the standard library on this machine."""
    documents = list(read_library())
    texts = [document.fields["title"] for document in documents]
    queries = [text for text, _ in QUERIES] + texts[:: max(1, len(texts) // count)]
    return _requests(queries, documents, count, passages, tokenizer)


def set_requests(
    folder: Path, count: int, passages: int, tokenizer: Tokenizer
) -> list[tuple[str, list[str]]]:
    """The first judged queries of a BEIR-layout folder, and its corpus."""
    from sidecar.evaluation.beir import read_corpus, read_judged_set

    queries = list(read_judged_set(folder, "test").queries.values())
    documents = [document for _, document in read_corpus(folder)]
    return _requests(queries, documents, count, passages, tokenizer)


def _requests(
    queries: Sequence[str],
    documents: Sequence[Document],
    count: int,
    passages: int,
    tokenizer: Tokenizer,
) -> list[tuple[str, list[str]]]:
    """The first `count` queries for which BM25 recalls so many passages."""
    to_terms = analyzer("english")
    texts = [to_passage(list(document.fields.values())) for document in documents]
    index = bm25s.BM25()
    index.index([to_terms(text) for text in texts], show_progress=False)
    requests = []
    for query in queries:
        found, scores = index.retrieve([to_terms(query)], k=passages, show_progress=False)
        if scores[0][-1] > 0 and len(requests) < count:
            requests.append((query, [_cut(texts[row], tokenizer) for row in found[0]]))
    return requests


def _cut(text: str, tokenizer: Tokenizer) -> str:
    """The longest start, in whole words, of at most MOST_TOKENS tokens."""
    words = text.split()[:MOST_TOKENS]
    while tokenizer.texts([" ".join(words)], MOST_TOKENS + 1)[0].token_count > MOST_TOKENS:
        words = words[: int(len(words) * 0.9)]
    return " ".join(words)
