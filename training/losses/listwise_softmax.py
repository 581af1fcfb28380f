"""Listwise softmax cross-entropy against graded relevance (ListNet's top-one form).

    L = - sum_i w_i p_i log softmax(s / T)_i,  p_i = g_i / sum_j g_j

with g_i the gain of candidate i: 0 for a candidate that is not relevant.
Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007; with one
relevant candidate it is the softmax cross-entropy of localized contrastive estimation (Gao et al.,
arXiv 2101.08751).
"""

from torch import Tensor

from training.losses.ragged import log_softmax_by_list, mean_over_lists, precise, sum_by_list


def listwise_softmax(
    scores: Tensor,
    groups: Tensor,
    gains: Tensor,
    weights: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Mean over lists that have a gain. All (pairs,); gains >= 0.

    A list without any gain says nothing and counts neither above nor below the line.
    """
    scores = precise(scores)
    total = sum_by_list(gains.to(scores.dtype), groups)  # (lists,)
    target = gains / total.clamp(min=1e-9)[groups]
    each = -target * log_softmax_by_list(scores / temperature, groups)
    if weights is not None:
        each = each * weights
    return mean_over_lists(sum_by_list(each, groups), total > 0)
