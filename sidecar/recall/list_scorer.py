"""BM25 over a candidate list that has no index: one more signal for Rerank, and a baseline."""

from __future__ import annotations

from collections.abc import Sequence

from rank_bm25 import BM25Plus

from sidecar.recall.analyzers import analyzer

K1 = 1.2
B = 0.75


def score_list(query: str, passages: Sequence[str], analyzer_name: str) -> list[float]:
    """BM25 of the query against each passage, with the list as the whole collection.

    rank_bm25's BM25Plus with delta 0: its idf, log((n + 1) / df), stays positive for terms that
    most candidates hold, which is the usual case in a candidate list (Okapi's is negative there).
    No passage: an empty list. One passage: positive if it holds a query term, else 0. Passages that
    are all alike: equal scores. A query or a list without any term: all 0.
    """
    read = analyzer(analyzer_name)
    corpus = [read(passage) for passage in passages]
    if not any(corpus):
        return [0.0] * len(corpus)
    scores = BM25Plus(corpus, k1=K1, b=B, delta=0).get_scores(read(query))
    return [float(score) for score in scores]
