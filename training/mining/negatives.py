"""Which recalled documents may be negatives, and which of them are: pure functions.

What is drawn follows from the run's seed and the query's id alone: neither the order of queries nor
how many there are changes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

import numpy as np

from training.serving.client import RecallHit


def source_of(seed: int, query_id: str) -> np.random.Generator:
    """What is drawn for a query."""
    digest = hashlib.sha256(f"{seed}\n{query_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def quotas(negatives: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that add up to `negatives`, next to its shares: the largest remainders are
    rounded up, of equal ones the first."""
    exact = [negatives * share for share in shares]
    counts = [int(each) for each in exact]
    by_remainder = sorted(range(len(shares)), key=lambda at: (counts[at] - exact[at], at))
    for at in by_remainder[: negatives - sum(counts)]:
        counts[at] += 1
    return counts


def too_good(
    recalled: Sequence[RecallHit], positives: Collection[str], relative_margin: float
) -> set[str]:
    """Documents that score above (1 - margin) x the best positive of the same leg: likely relevant,
    and not labelled so.

    The dense leg decides where it has found a positive, else the lexical one; a leg that found none
    says nothing, and a document that the deciding leg did not find is below all that it found.
    Of a negative score the margin is taken off, too. Positive-aware mining (TopK-PercPos), Moreira
    et al., NV-Retriever, arXiv 2407.15831, section 4.2.
    """
    for scores in (
        {each.doc_id: each.dense for each in recalled if each.dense is not None},
        {each.doc_id: each.lexical for each in recalled if each.lexical is not None},
    ):
        found = [scores[doc_id] for doc_id in positives if doc_id in scores]
        if found:
            best = max(found)
            limit = best - relative_margin * abs(best)
            return {doc_id for doc_id, score in scores.items() if score > limit} - set(positives)
    return set()


def in_drawing_order(recalled: Sequence[RecallHit], source: np.random.Generator) -> list[RecallHit]:
    """Drawn without replacement, each with a probability that falls as 1 / rank: hard ones come
    often, the hardest, among which most false negatives are, not always.

    On homedepot_search, with half of the relevant documents hidden and a margin of .05, of three
    negatives so drawn 8 in 100 are hidden relevant ones (median rank 26); of the three best ranked
    29 in 100, of three drawn evenly 1, but those are at a median rank of 54.
    By the largest of log weight + Gumbel noise; Efraimidis, Spirakis, IPL 2006.
    """
    keys = source.gumbel(size=len(recalled)) - np.log([each.rank for each in recalled])
    return [recalled[at] for at in np.argsort(-keys, kind="stable")]
