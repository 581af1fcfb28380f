"""Held-out judgments turn a cross-encoder's logit into a probability.

Platt scaling: probability = 1 / (1 + exp(-(slope x logit + intercept))), fitted by maximum
likelihood with targets a little off 0 and 1, so that few judgments do not make it certain
(J. Platt, Probabilistic Outputs for Support Vector Machines, 1999). The fit is Newton's method with
backtracking, in the form that does not overflow (H.-T. Lin, C.-J. Lin, R. Weng, A Note on Platt's
Probabilistic Outputs for Support Vector Machines, 2007).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sidecar.models.contract import ScoreCalibration

MOST_STEPS = 100
_SMALLEST_STEP = 1e-10
_SMALLEST_GRADIENT = 1e-5
_RIDGE = 1e-12  # keeps the Hessian invertible

Floats = npt.NDArray[np.float64]


def fit_platt(logits: Sequence[float], relevant: Sequence[bool]) -> ScoreCalibration:
    """Slope and intercept by maximum likelihood. Raises ValueError without both kinds of pair,
    and where scores fall with relevance."""
    scores = np.asarray(logits, dtype=np.float64)
    labels = np.asarray(relevant, dtype=bool)
    positive, negative = int(labels.sum()), int((~labels).sum())
    if not positive or not negative:
        raise ValueError("a calibration needs relevant and other pairs")
    targets = np.where(labels, (positive + 1) / (positive + 2), 1 / (negative + 2))
    point = np.array([0.0, np.log((positive + 1) / (negative + 1))])  # slope, intercept
    loss = _loss(point, scores, targets)
    for _ in range(MOST_STEPS):
        gradient, hessian = _derivatives(point, scores, targets)
        if np.abs(gradient).max() < _SMALLEST_GRADIENT:
            break
        direction = -np.linalg.solve(hessian, gradient)
        step = 1.0
        while step >= _SMALLEST_STEP:
            tried = point + step * direction
            found = _loss(tried, scores, targets)
            if found < loss + 1e-4 * step * float(gradient @ direction):
                point, loss = tried, found
                break
            step /= 2
        else:
            break
    return ScoreCalibration("platt", round(float(point[0]), 6), round(float(point[1]), 6))


def _loss(point: Floats, scores: Floats, targets: Floats) -> float:
    """Negative log likelihood; log(1 + exp(-x)) by whichever form does not overflow."""
    x = point[0] * scores + point[1]
    return float(np.sum(np.logaddexp(0.0, -x) + (1.0 - targets) * x))


def _derivatives(point: Floats, scores: Floats, targets: Floats) -> tuple[Floats, Floats]:
    x = point[0] * scores + point[1]
    probability = np.exp(-np.logaddexp(0.0, -x))
    columns = np.stack([scores, np.ones_like(scores)], axis=1)
    gradient: Floats = columns.T @ (probability - targets)
    weights = probability * (1.0 - probability)
    hessian: Floats = columns.T @ (columns * weights[:, None]) + _RIDGE * np.eye(2)
    return gradient, hessian
