"""Listwise softmax cross-entropy against graded relevance (ListNet's top-one form).

    L = - sum_i p_i log softmax(s)_i,  p_i = g_i / sum_j g_j

with g_i the gain of candidate i: 0 for a candidate that is not relevant.
Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007; with one
relevant candidate it is the softmax cross-entropy of localized contrastive estimation (Gao et al.,
arXiv 2101.08751).
"""

import torch
from torch import Tensor


def listwise_softmax(scores: Tensor, gains: Tensor) -> Tensor:
    """Mean over lists that have a gain. `scores`, `gains`: (lists, candidates), gains >= 0.

    A list without any gain says nothing and counts neither above nor below the line.
    """
    total = gains.sum(dim=1)  # (lists,)
    target = gains / total.clamp(min=1e-9).unsqueeze(1)
    each = -(target * torch.log_softmax(scores, dim=1)).sum(dim=1)  # (lists,)
    told = (total > 0).to(each.dtype)
    return (each * told).sum() / told.sum().clamp(min=1)
