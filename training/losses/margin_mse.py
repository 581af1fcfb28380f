"""MarginMSE over all pairs of a list: the student's score differences follow the teacher's.

    L = 2 / (n (n - 1)) * sum over i < j of (w_i + w_j) / 2 * ((s_i - s_j) - (t_i - t_j))^2

Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge
Distillation", arXiv 2010.02666, which takes one pair a query; here every pair of the list is taken.
With e = s - t the sum over pairs is 1/2 sum_i w_i (n (e_i - m)^2 + sum_j (e_j - m)^2), m the mean
of e, so no n x n matrix is made.
"""

import torch
from torch import Tensor

from training.losses.ragged import mean_over_lists, precise, sum_by_list


def margin_mse(
    scores: Tensor, groups: Tensor, teacher: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Mean over lists of two candidates or more. All (pairs,) float, `groups` int64."""
    scores = precise(scores)
    error = scores - teacher
    counts = torch.bincount(groups)  # (lists,)
    mean = sum_by_list(error, groups) / counts.clamp(min=1)
    squares = (error - mean[groups]).square()
    each = 0.5 * (counts[groups] * squares + sum_by_list(squares, groups)[groups])
    if weights is not None:
        each = each * weights
    pairs = counts * (counts - 1) / 2
    return mean_over_lists(sum_by_list(each, groups) / pairs.clamp(min=1), counts > 1)
