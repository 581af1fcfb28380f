"""Stage 4, evaluate: development queries choose the weight that a model's contract carries.

A stage's score and the earlier stage's are combined as the sidecar does (`rerank.combination`), for
every weight of a grid. Development sets are of the kinds that were trained on and flatter the
model, so not the best weight is taken but the smallest that keeps `KEPT_SHARE` of the best gain.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from transformers import BertForSequenceClassification

from sidecar.evaluation.measures import ndcg
from sidecar.rerank.combination import combine
from training.carried.lists import Texts
from training.carried.mine import MinedList
from training.carried.train import Budgets, PairTokens, SpecialTokens, pad_pairs, special_tokens

WEIGHTS = tuple(round(step * 0.05, 2) for step in range(21))  # 0 to 1
KEPT_SHARE = 0.9
_BATCH_PAIRS = 32

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoredList:
    """A development query's candidates in fused order, the first ones with both heads' scores."""

    doc_ids: tuple[str, ...]
    fused: Floats  # (depth,)
    early: Floats  # (depth,)
    last: Floats  # (depth,)
    relevance: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Rerankers:
    """Both models as they are exported, and what they read of a query and of a passage."""

    first: BertForSequenceClassification
    second: BertForSequenceClassification
    budgets: Budgets


def score_candidates(
    rerankers: Rerankers, mined: MinedList, texts: Texts, tokenizer: Tokenizer, depth: int
) -> ScoredList:
    """Both models' scores of the first `depth` candidates, in float32."""
    query = tokenizer.encode(mined.query, add_special_tokens=False).ids
    found = [texts[doc_id] for doc_id in mined.doc_ids[:depth]]
    passages = [each.ids for each in tokenizer.encode_batch(found, add_special_tokens=False)]
    pairs = [rerankers.budgets.cut(query, passage) for passage in passages]
    tokens = special_tokens(tokenizer)
    early, last = (_scores(model, pairs, tokens) for model in (rerankers.first, rerankers.second))
    return ScoredList(mined.doc_ids, np.asarray(mined.fused[:depth]), early, last, mined.relevance)


@torch.no_grad()
def _scores(
    model: BertForSequenceClassification, pairs: Sequence[PairTokens], tokens: SpecialTokens
) -> Floats:
    """(pairs,) logits, batched by length."""
    order = sorted(range(len(pairs)), key=lambda place: len(pairs[place][1]))
    scores = np.zeros(len(pairs))
    for start in range(0, len(order), _BATCH_PAIRS):
        places = order[start : start + _BATCH_PAIRS]
        ids, mask, types = pad_pairs([pairs[place] for place in places], tokens)
        logits = model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
        scores[places] = logits[:, 0].double().numpy()
    return scores


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
class ChosenWeight:
    """A weight, and the nDCG@10 of each development set (before the stage, after it)."""

    weight: float
    figures: Mapping[str, tuple[float, float]]


def choose_first(sets: Mapping[str, Sequence[ScoredList]], depth: int) -> ChosenWeight:
    """The first-stage reranker's weight over the fused ranking."""
    return _choose(
        sets,
        before=lambda scored: list(scored.doc_ids),
        after=lambda scored, weight: rank_first(scored, weight, depth)[0],
    )


def choose_second(
    sets: Mapping[str, Sequence[ScoredList]], first_weight: float, first_depth: int, depth: int
) -> ChosenWeight:
    """The second-stage reranker's weight over the first-stage reranker's ranking."""
    return _choose(
        sets,
        before=lambda scored: rank_first(scored, first_weight, first_depth)[0],
        after=lambda scored, weight: rank_second(scored, first_weight, first_depth, weight, depth),
    )


def best_weight(gains: Mapping[float, Sequence[float]]) -> float:
    """The smallest weight that keeps `KEPT_SHARE` of the best mean gain over the sets.

    `gains`: weight -> change of nDCG@10 against the earlier stage, one a development set.
    """
    means = {weight: float(np.mean(each)) for weight, each in gains.items()}
    best = max(means.values())
    return min(weight for weight, mean in means.items() if mean >= KEPT_SHARE * best)


def _choose(
    sets: Mapping[str, Sequence[ScoredList]],
    before: Callable[[ScoredList], list[str]],
    after: Callable[[ScoredList, float], list[str]],
) -> ChosenWeight:
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
    return ChosenWeight(weight, {name: (earlier[name], later[weight][name]) for name in sets})


def _reordered(doc_ids: Sequence[str], order: npt.NDArray[np.int64]) -> list[str]:
    """The head in a new order, the rest as before."""
    return [doc_ids[place] for place in order] + list(doc_ids[len(order) :])


def judged_pairs(
    lists: Iterable[ScoredList], of_last: bool, depth: int
) -> tuple[list[float], list[bool]]:
    """Logits of one model over the heads of lists, and whether each candidate is relevant.

    One without a judgment counts as not relevant, as it does in nDCG; a graded one is relevant from
    half of the best grade of its set on.
    """
    found = list(lists)
    best = max((grade for one in found for grade in one.relevance.values()), default=0)
    logits, relevant = [], []
    for one in found:
        scores = one.last if of_last else one.early
        for doc_id, score in zip(one.doc_ids[:depth], scores[:depth].tolist(), strict=False):
            logits.append(score)
            relevant.append(best > 0 and 2 * one.relevance.get(doc_id, 0) >= best)
    return logits, relevant
