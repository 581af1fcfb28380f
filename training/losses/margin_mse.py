"""MarginMSE over all pairs of a list: the student's score differences follow the teacher's.

    L = 2 / (n (n - 1)) * sum over i < j of ((s_i - s_j) - (t_i - t_j))^2

Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge
Distillation", arXiv 2010.02666, which takes one pair a query; here every pair of the list is taken.
The sum over pairs is n times the list's sum of squares around its mean, so no n x n matrix is made.
"""

import torch
from torch import Tensor


def margin_mse(scores: Tensor, teacher: Tensor) -> Tensor:
    """Mean over lists. `scores`, `teacher`: (lists, candidates) float, candidates >= 2."""
    candidates = scores.shape[1]
    error = scores - teacher
    around_mean = error - error.mean(dim=1, keepdim=True)
    return torch.mean(around_mean.square().sum(dim=1) * 2 / (candidates - 1))
