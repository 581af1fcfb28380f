"""Less bias from too few impressions a pair: what a fit on half of the log says, taken off.

Maximum likelihood with a parameter of its own for every pair is off by about b / n with n
impressions a pair (Neyman, Scott 1948). Half of the sessions are off by 2 b / n, so that

    2 log p(all) - (log p(half) + log p(other half)) / 2

has the first order of it removed: the split-panel jackknife of Dhaene, Jochmans, "Split-panel
Jackknife Estimation of Fixed-effect Models" (Review of Economic Studies 2015), in logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.clicks.log import ClickLog, FloatArray

_SEED = 1
_FLOOR = 1e-6


def halved(log: ClickLog) -> tuple[ClickLog, ClickLog]:
    """Two halves of the sessions, the same each time."""
    return log.split(0.5, _SEED)


def without_bias(whole: FloatArray, halves: Sequence[FloatArray]) -> FloatArray:
    """The corrected propensities; those of the whole log where a half knows none."""
    logs = [np.log(np.maximum(part, _FLOOR)) for part in halves]
    corrected = np.exp(2 * np.log(np.maximum(whole, _FLOOR)) - np.mean(logs, axis=0))
    return np.where(np.isfinite(corrected), corrected, whole)
