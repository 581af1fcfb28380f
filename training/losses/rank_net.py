"""RankNet: of two candidates of a list the one with the higher grade should score higher.

    L = 1/|P| sum over (i, j) in P of w_i log(1 + exp(-(s_i - s_j) / T)),  P = {(i, j): y_i > y_j}

Burges et al., "Learning to Rank using Gradient Descent", ICML 2005.
"""

from torch import Tensor
from torch.nn.functional import softplus

from training.losses.ragged import mean_of_preferences, precise, preferences


def rank_net(
    scores: Tensor,
    groups: Tensor,
    grades: Tensor,
    weights: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Mean over the preferences of a list, then over lists that have any. All (pairs,)."""
    scores = precise(scores)
    better, worse = preferences(grades, groups)
    each = softplus((scores[worse] - scores[better]) / temperature)
    return mean_of_preferences(each, better, groups, weights)
