"""nDCG@k, RR@k and R@k of one ranking: pure functions, as trec_eval and ir-measures define them.

A ranking is document ids, best first, without repetition; `judged` maps ids to relevance. An
unjudged document counts as not relevant; a judgment below 1 as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

Judged = Mapping[str, float]
Measure = Callable[[Sequence[str], Judged], float]


def ndcg(ranking: Sequence[str], judged: Judged, cut: int) -> float:
    """nDCG@cut with linear gain: DCG = sum of rel_i / log2(i + 1), over the DCG of the best order.

    0 without a relevant document. Source: Järvelin and Kekäläinen, TOIS 20(4), 2002, in the form of
    trec_eval's `ndcg_cut` (the gain is the relevance itself, not 2**rel - 1).
    """
    ideal = _dcg(sorted(judged.values(), reverse=True)[:cut])
    return _dcg([judged.get(doc_id, 0) for doc_id in ranking[:cut]]) / ideal if ideal else 0.0


def reciprocal_rank(ranking: Sequence[str], judged: Judged, cut: int) -> float:
    """RR@cut: 1 / rank of the first document with relevance >= 1, 0 if none is within the cut.

    Source: Kantor and Voorhees, TREC-5, 1996 (trec_eval's `recip_rank`), cut as ir-measures does.
    """
    for rank, doc_id in enumerate(ranking[:cut], start=1):
        if judged.get(doc_id, 0) >= 1:
            return 1.0 / rank
    return 0.0


def recall(ranking: Sequence[str], judged: Judged, cut: int) -> float:
    """R@cut: share of the documents with relevance >= 1 that are within the cut; 0 without any.

    Source: trec_eval's `recall`.
    """
    relevant = {doc_id for doc_id, relevance in judged.items() if relevance >= 1}
    return len(relevant.intersection(ranking[:cut])) / len(relevant) if relevant else 0.0


def _dcg(relevances: Sequence[float]) -> float:
    return sum(max(gain, 0) / math.log2(rank + 1) for rank, gain in enumerate(relevances, start=1))


# The measures that `sidecar evaluate` reports, by the names of ir-measures.
MEASURES: dict[str, Measure] = {
    "nDCG@10": lambda ranking, judged: ndcg(ranking, judged, 10),
    "RR@10": lambda ranking, judged: reciprocal_rank(ranking, judged, 10),
    "R@100": lambda ranking, judged: recall(ranking, judged, 100),
}


def mean_measures(
    run: Mapping[str, Sequence[str]], qrels: Mapping[str, Judged]
) -> dict[str, float]:
    """The mean of each measure over the queries of `qrels`; a query without a ranking counts 0."""
    return {
        name: sum(measure(run.get(query_id, ()), judged) for query_id, judged in qrels.items())
        / max(len(qrels), 1)
        for name, measure in MEASURES.items()
    }
