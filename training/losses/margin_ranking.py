"""Margin ranking (hinge): the better candidate of two should score higher by a margin.

    L = 1/|P| sum over (i, j) in P of w_i max(0, m - (s_i - s_j)),  P = {(i, j): y_i > y_j}

Herbrich, Graepel and Obermayer, "Large Margin Rank Boundaries for Ordinal Regression", 2000. The
margin is one of logits: .3 asks for little where scores run from -10 to 10.
"""

from torch import Tensor

from training.losses.ragged import mean_of_preferences, precise, preferences


def margin_ranking(
    scores: Tensor,
    groups: Tensor,
    grades: Tensor,
    weights: Tensor | None = None,
    margin: float = 0.3,
) -> Tensor:
    """Mean over the preferences of a list, then over lists that have any. All (pairs,)."""
    scores = precise(scores)
    better, worse = preferences(grades, groups)
    each = (margin - (scores[better] - scores[worse])).clamp(min=0)
    return mean_of_preferences(each, better, groups, weights)
