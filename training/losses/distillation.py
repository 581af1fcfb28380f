"""Distillation: the student's distribution over a list follows the teacher's, and its order too.

    L = T^2 * sum_i w_i p_i (log p_i - log q_i) + c * RankNet(s, grades = t)
    p = softmax(t / T), q = softmax(s / T)

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, over a
list's candidates instead of classes; T^2 keeps the gradient's size as T grows. The second term asks
for the teacher's order where a warm T leaves little difference (ranking distillation: Tang and
Wang, KDD 2018; here every preference of the teacher's, as RankNet has it).
"""

from torch import Tensor

from training.losses.ragged import (
    log_softmax_by_list,
    mean_over_lists,
    precise,
    sum_by_list,
)
from training.losses.rank_net import rank_net


def distillation(
    scores: Tensor,
    groups: Tensor,
    teacher: Tensor,
    weights: Tensor | None = None,
    temperature: float = 3.0,
    rank_weight: float = 0.0,
) -> Tensor:
    """Mean over lists of two candidates or more. All (pairs,); both scores are logits."""
    scores = precise(scores)
    target = log_softmax_by_list(teacher.to(scores.dtype) / temperature, groups)
    each = target.exp() * (target - log_softmax_by_list(scores / temperature, groups))
    if weights is not None:
        each = each * weights
    told = groups.bincount() > 1
    loss = temperature**2 * mean_over_lists(sum_by_list(each, groups), told)
    if rank_weight:
        loss = loss + rank_weight * rank_net(scores, groups, teacher, weights)
    return loss
