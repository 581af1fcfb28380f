"""How far several labels of the same pair agree: Krippendorff's alpha for ordinal labels.

    alpha = 1 - D_o / D_e

D_o is the mean squared distance of two labels of the same pair, D_e that of any two labels; 1 is
perfect agreement, 0 what chance would give. The squared distance of two grades is
(sum of counts from one to the other - half of both ends' counts)^2, which is the squared difference
of their mid-ranks among all labels. Who gave a label does not matter, and pairs may have different
numbers of labels.

Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability" (University of Pennsylvania,
2011), section D for ordinal distances.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def krippendorff_alpha(pairs: NDArray[np.int64], labels: NDArray[np.float64]) -> float | None:
    """`pairs` (labels,): which pair each label is of. None where no pair has two labels, or all
    labels are the same: there is nothing that could disagree."""
    unit = np.unique(pairs, return_inverse=True)[1]
    count = np.bincount(unit)
    paired = count[unit] >= 2
    unit, values = np.unique(unit[paired], return_inverse=True)[1], labels[paired]
    if not len(values):
        return None
    ranks = _mid_ranks(values)
    count = np.bincount(unit).astype(np.float64)
    # The sum over ordered pairs of labels of (x - y)^2 is 2 (n sum x^2 - (sum x)^2).
    squares, sums = np.bincount(unit, ranks**2), np.bincount(unit, ranks)
    observed = float(np.sum(2 * (count * squares - sums**2) / (count - 1)))
    total = len(ranks)
    expected = 2 * (total * float(np.sum(ranks**2)) - float(ranks.sum()) ** 2) / (total - 1)
    return 1.0 - observed / expected if expected > 0 else None


def _mid_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    code, counts = np.unique(values, return_inverse=True, return_counts=True)[1:]
    middle = np.cumsum(counts) - counts / 2.0
    # From the middle of all: numbers stay small, and so do rounding errors.
    ranks: NDArray[np.float64] = middle[code] - len(values) / 2.0
    return ranks
