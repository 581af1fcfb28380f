"""Pointwise binary cross-entropy: each pair's logit is the log-odds of its relevance.

    L = - 1/n sum_i w_i (c y_i log sigmoid(s_i) + (1 - y_i) log(1 - sigmoid(s_i)))

The cross-encoder of Nogueira and Cho, "Passage Re-ranking with BERT", arXiv 1901.04085. A grade
between 0 and 1 is a probability; the positive weight c evens out one relevant candidate among many.
"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from training.losses.ragged import precise


def binary_cross_entropy(
    scores: Tensor,
    groups: Tensor,
    grades: Tensor,
    weights: Tensor | None = None,
    positive_weight: float = 1.0,
) -> Tensor:
    """Mean over pairs. All (pairs,); grades from 0 to 1 (ValueError); `groups` makes no difference.

    Scale graded judgments before: grade / highest grade.
    """
    if grades.numel() and not 0 <= float(grades.min()) <= float(grades.max()) <= 1:
        raise ValueError("binary cross-entropy needs grades from 0 to 1: divide by the highest")
    scores = precise(scores)
    each = binary_cross_entropy_with_logits(
        scores,
        grades.to(scores.dtype),
        reduction="none",
        pos_weight=torch.tensor(positive_weight, dtype=scores.dtype, device=scores.device),
    )
    if weights is not None:
        each = each * weights
    return each.sum() / max(each.numel(), 1)
