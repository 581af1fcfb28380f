"""Stage 4, evaluate: development queries choose the weight that a model's contract carries.

A stage's score and the earlier stage's are combined as the sidecar does (`rerank.combination`), for
every weight of a grid. The weight taken is the one of the best mean gain over the development sets,
moved down to the smallest within `TOLERANCE` of it: where sets disagree, the safer weight is right.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from sidecar.evaluation.measures import ndcg
from sidecar.rerank.combination import combine
from training.lists import Texts
from training.mine import MinedList
from training.network import TwoHeads
from training.train import Budgets, pad_pairs, special_tokens

WEIGHTS = tuple(round(step * 0.05, 2) for step in range(17))  # 0 to .8
TOLERANCE = 0.001

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoredList:
    """A development query's candidates in fused order, the first ones with both heads' scores."""

    doc_ids: tuple[str, ...]
    fused: Floats  # (depth,)
    early: Floats  # (depth,)
    last: Floats  # (depth,)
    relevance: Mapping[str, int]


@torch.no_grad()
def score_candidates(
    network: TwoHeads,
    mined: MinedList,
    texts: Texts,
    tokenizer: Tokenizer,
    budgets: Budgets,
    depth: int,
    batch_pairs: int = 32,
) -> ScoredList:
    """Both heads' scores of the first `depth` candidates, in float32."""
    tokens = special_tokens(tokenizer)
    query = tuple(tokenizer.encode(mined.query, add_special_tokens=False).ids[: budgets.query])
    passages = tokenizer.encode_batch(
        [texts[doc_id] for doc_id in mined.doc_ids[:depth]], add_special_tokens=False
    )
    pairs = [(query, tuple(passage.ids[: budgets.passage])) for passage in passages]
    order = sorted(range(len(pairs)), key=lambda place: len(pairs[place][1]))
    scores = np.zeros((2, len(pairs)))
    for start in range(0, len(order), batch_pairs):
        places = order[start : start + batch_pairs]
        batch = pad_pairs([pairs[place] for place in places], tokens)
        scores[:, places] = network(*batch).double().numpy()
    fused = np.asarray(mined.fused[:depth])
    return ScoredList(mined.doc_ids, fused, scores[0], scores[1], mined.relevance)


def rank_first(scored: ScoredList, weight: float, depth: int) -> tuple[list[str], Floats]:
    """The order after the first-stage reranker, and the combined scores of its head in it."""
    combined = combine(scored.early[:depth], scored.fused[:depth], weight)
    order = np.argsort(-combined, kind="stable")
    return _reordered(scored.doc_ids, order), combined[order]


def rank_second(
    scored: ScoredList, first_weight: float, first_depth: int, weight: float, depth: int
) -> list[str]:
    """The order after the second-stage reranker, over the head of the first's order."""
    after_first, earlier = rank_first(scored, first_weight, first_depth)
    place = {doc_id: number for number, doc_id in enumerate(scored.doc_ids)}
    head = after_first[: min(depth, len(earlier))]
    last = np.array([scored.last[place[doc_id]] for doc_id in head])
    order = np.argsort(-combine(last, earlier[: len(head)], weight), kind="stable")
    return _reordered(after_first, order)


def mean_ndcg(rankings: Sequence[Sequence[str]], lists: Sequence[ScoredList]) -> float:
    """nDCG@10 over the development queries."""
    each = [
        ndcg(ranking, scored.relevance, 10) for ranking, scored in zip(rankings, lists, strict=True)
    ]
    return float(np.mean(each))


@dataclass(frozen=True, slots=True)
class Choice:
    """A weight, and the nDCG@10 of each development set (before the stage, after it)."""

    weight: float
    figures: Mapping[str, tuple[float, float]]


def choose_first(sets: Mapping[str, Sequence[ScoredList]], depth: int) -> Choice:
    """The first-stage reranker's weight over the fused ranking."""
    return _choose(
        sets,
        before=lambda scored: list(scored.doc_ids),
        after=lambda scored, weight: rank_first(scored, weight, depth)[0],
    )


def choose_second(
    sets: Mapping[str, Sequence[ScoredList]], first_weight: float, first_depth: int, depth: int
) -> Choice:
    """The second-stage reranker's weight over the first-stage reranker's ranking."""
    return _choose(
        sets,
        before=lambda scored: rank_first(scored, first_weight, first_depth)[0],
        after=lambda scored, weight: rank_second(scored, first_weight, first_depth, weight, depth),
    )


def best_weight(gains: Mapping[float, Sequence[float]]) -> float:
    """The smallest weight whose mean gain over the sets is within `TOLERANCE` of the best.

    `gains`: weight -> change of nDCG@10 against the earlier stage, one a development set.
    """
    means = {weight: float(np.mean(each)) for weight, each in gains.items()}
    best = max(means.values())
    return min(weight for weight, mean in means.items() if mean >= best - TOLERANCE)


def _choose(
    sets: Mapping[str, Sequence[ScoredList]],
    before: Callable[[ScoredList], list[str]],
    after: Callable[[ScoredList, float], list[str]],
) -> Choice:
    earlier = {
        name: mean_ndcg([before(scored) for scored in lists], lists) for name, lists in sets.items()
    }
    later = {
        weight: {
            name: mean_ndcg([after(scored, weight) for scored in lists], lists)
            for name, lists in sets.items()
        }
        for weight in WEIGHTS
    }
    weight = best_weight(
        {weight: [each[name] - earlier[name] for name in sets] for weight, each in later.items()}
    )
    return Choice(weight, {name: (earlier[name], later[weight][name]) for name in sets})


def _reordered(doc_ids: Sequence[str], order: npt.NDArray[np.int64]) -> list[str]:
    """The head in a new order, the rest as before."""
    return [doc_ids[place] for place in order] + list(doc_ids[len(order) :])
