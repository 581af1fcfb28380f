"""A rerank stage's score joined with the earlier stage's, over the head that the stage scored.

The two live on different scales, so each is standardised over the head before the weighted sum (a
convex combination: Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval",
TOIS 2023, who find the choice of normalisation to matter little). The weight belongs to the model's
contract and is chosen on development data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def standardise(scores: Sequence[float] | Floats) -> Floats:
    """Scores (candidates,) less their mean, over their standard deviation; zeros if all are equal.

    >>> standardise([1.0, 3.0]).tolist()
    [-1.0, 1.0]
    """
    values = np.asarray(scores, dtype=np.float64)
    largest = np.abs(values).max(initial=0.0)
    # Callers' scores may be of any size: scaled first, neither the spread nor its square can
    # overflow or vanish.
    scaled = values / largest if largest > 0.0 else values
    spread = np.ptp(scaled) if scaled.size else 0.0
    if spread == 0.0:
        return np.zeros_like(values)
    unit = (scaled - scaled.min()) / spread
    standardised: Floats = (unit - unit.mean()) / unit.std()
    return standardised


def combine(
    model_scores: Sequence[float] | Floats, earlier_scores: Sequence[float] | Floats, weight: float
) -> Floats:
    """weight * z(model) + (1 - weight) * z(earlier), all arrays (candidates,), all finite.

    `weight` is 0 (the earlier stage alone) to 1 (the model alone).
    """
    return weight * standardise(model_scores) + (1.0 - weight) * standardise(earlier_scores)
