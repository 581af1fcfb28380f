"""The baseline of evaluation: BM25 by rank-bm25 over the whole corpus, on the same terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from rank_bm25 import BM25Okapi

from sidecar.evaluation.beir import JudgedSet, read_corpus
from sidecar.recall.analyzers import analyzer
from sidecar.types import to_passage

DEPTH = 100


def baseline_run(
    judged: JudgedSet, folder: Path, analyzer_name: str, on_query: Callable[[], None]
) -> Mapping[str, list[str]]:
    """The 100 best documents of each query by BM25Okapi (k1 1.2, b .75)."""
    to_terms = analyzer(analyzer_name)
    doc_ids, terms = [], []
    for _, document in read_corpus(folder):
        doc_ids.append(document.doc_id)
        terms.append(to_terms(to_passage(list(document.fields.values()))))
    scorer = BM25Okapi(terms, k1=1.2, b=0.75)
    run = {}
    for query_id, text in judged.queries.items():
        scores = scorer.get_scores(to_terms(text))
        best = np.argsort(-scores, kind="stable")[:DEPTH]
        run[query_id] = [doc_ids[index] for index in best if scores[index] > 0]
        on_query()
    return run
