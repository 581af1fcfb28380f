"""LambdaLoss: preferences weighted by what a swap would do to nDCG, as the scores rank now.

    L = sum over y_i > y_j of w_i * v_ij * |G_i - G_j| * log2(1 + exp(-(s_i - s_j) / T))

    G_i = (2^y_i - 1) / maxDCG,  D(r) = log2(1 + r),  r_i the rank of i by its score
    LambdaRank:     v_ij = rho_ij = |1 / D(r_i) - 1 / D(r_j)|
    NDCG-Loss2++:   v_ij = rho_ij + mu * delta_ij,
                    delta_ij = |1 / D(|r_i - r_j|) - 1 / D(|r_i - r_j| + 1)|

Wang et al., "The LambdaLoss Framework for Ranking Metric Optimization", CIKM 2018 (mu = 10 there);
LambdaRank is Burges, "From RankNet to LambdaRank to LambdaMART", MSR-TR-2010-82. Ranks are taken as
constants, so the gradient is that of the weighted preferences.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from training.losses.ragged import (
    count_lists,
    mean_over_lists,
    precise,
    preferences,
    ranks_by_list,
    sum_by_list,
)

Weighting = Literal["ndcg_loss2++", "lambda_rank"]


def lambda_loss(
    scores: Tensor,
    groups: Tensor,
    grades: Tensor,
    weights: Tensor | None = None,
    weighting: Weighting = "ndcg_loss2++",
    mu: float = 10.0,
    temperature: float = 1.0,
) -> Tensor:
    """Sum over the preferences of a list, mean over lists that have any. All (pairs,).

    Candidates with one score are ranked by their place, so shuffle a list before a model is
    trained whose scores are all alike.
    """
    scores = precise(scores)
    better, worse = preferences(grades, groups)
    gains = _normalised_gains(grades.to(scores.dtype), groups)
    swapped = _swap_weights(ranks_by_list(scores, groups), better, worse, weighting, mu)
    each = softplus((scores[worse] - scores[better]) / temperature) / torch.log(
        scores.new_tensor(2)
    )
    each = each * swapped.to(each.dtype) * (gains[better] - gains[worse])
    if weights is not None:
        each = each * weights[better]
    lists = count_lists(groups)
    told = torch.bincount(groups[better], minlength=lists) > 0
    return mean_over_lists(each.new_zeros(lists).index_add(0, groups[better], each), told)


def _normalised_gains(grades: Tensor, groups: Tensor) -> Tensor:
    """(pairs,): 2^grade - 1 over the DCG of the best order of the pair's list."""
    gains = torch.exp2(grades) - 1
    discounts = _inverse_discount(ranks_by_list(grades, groups)).to(gains.dtype)
    best = sum_by_list(gains * discounts, groups)
    return gains / best.clamp(min=1e-9)[groups]


def _swap_weights(
    ranks: Tensor, better: Tensor, worse: Tensor, weighting: Weighting, mu: float
) -> Tensor:
    """(preferences,): v_ij."""
    one, other = _inverse_discount(ranks[better]), _inverse_discount(ranks[worse])
    rho = (one - other).abs()
    if weighting == "lambda_rank":
        return rho
    apart = (ranks[better] - ranks[worse]).abs()
    return rho + mu * (_inverse_discount(apart) - _inverse_discount(apart + 1)).abs()


def _inverse_discount(ranks: Tensor) -> Tensor:
    return 1.0 / torch.log2(1.0 + ranks.double())
