"""Stage 4b, calibrate: held-out judgments turn a cross-encoder's logit into a probability.

Platt scaling: probability = 1 / (1 + exp(-(slope x logit + intercept))), fitted by maximum
likelihood with targets a little off 0 and 1, so that few judgments do not make it certain
(J. Platt, Probabilistic Outputs for Support Vector Machines, 1999). The fit is Newton's method with
backtracking, in the form that does not overflow (H.-T. Lin, C.-J. Lin, R. Weng, A Note on Platt's
Probabilistic Outputs for Support Vector Machines, 2007).

A candidate without a judgment counts as not relevant, as it does in nDCG; a graded one is relevant
from half of the best grade of its set on. So the probability is that of a recalled candidate.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from sidecar.models.contract import ScoreCalibration
from training.evaluate import ScoredList

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


def judged_pairs(
    lists: Iterable[ScoredList], of_last: bool, depth: int
) -> tuple[list[float], list[bool]]:
    """Logits of one model over the heads of lists, and whether each candidate is relevant."""
    found = list(lists)
    best = max((grade for one in found for grade in one.relevance.values()), default=0)
    logits, relevant = [], []
    for one in found:
        scores = one.last if of_last else one.early
        for doc_id, score in zip(one.doc_ids[:depth], scores[:depth].tolist(), strict=False):
            logits.append(score)
            relevant.append(best > 0 and 2 * one.relevance.get(doc_id, 0) >= best)
    return logits, relevant


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
