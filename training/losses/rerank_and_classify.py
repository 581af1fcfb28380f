"""Ranking and classification at once, from two heads of one model.

    L = listwise_softmax(s, g) + c / n * sum_i w_i crossentropy(z_i, y_i)

z_i are the logits of the classification head: one for relevant or not, or one a class. The weighted
sum of tasks is Caruana, "Multitask Learning", 1997; c = .3 is what the ranking bears.
"""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from training.losses.listwise_softmax import listwise_softmax
from training.losses.ragged import precise


def rerank_and_classify(
    scores: Tensor,
    groups: Tensor,
    gains: Tensor,
    class_logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    class_weight: float = 0.3,
) -> Tensor:
    """`scores`, `groups`, `gains`, `labels`, `weights`: (pairs,).

    `class_logits`: (pairs,) with labels 0 and 1, or (pairs, classes) with the number of the class.
    """
    logits = precise(class_logits)
    if logits.ndim == 1:
        each = binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
    else:
        each = cross_entropy(logits, labels.long(), reduction="none")
    if weights is not None:
        each = each * weights
    classified = each.sum() / max(each.numel(), 1)
    return listwise_softmax(scores, groups, gains, weights) + class_weight * classified
