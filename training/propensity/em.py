"""Expectation-maximisation, in longer steps: SQUAREM, and back to plain steps where it overshoots.

The objective never falls, whatever the step length: a step that would lower it is not taken.
Source: Varadhan, Roland, "Simple and Globally Convergent Methods for Accelerating the Convergence
of Any EM Algorithm" (Scandinavian Journal of Statistics 2008), scheme S3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.clicks.log import FloatArray

Update = Callable[[FloatArray], FloatArray]
Objective = Callable[[FloatArray], float]

# Probabilities stay inside: at 0 and 1 an update would never leave.
EDGE = 1e-9
_PATIENCE = 3


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Where the maximisation ended, and the objective after each of its steps."""

    parameters: FloatArray
    objectives: tuple[float, ...]
    converged: bool


def maximise(
    step: Update,
    objective: Objective,
    start: FloatArray,
    most_steps: int = 2000,
    tolerance: float = 1e-9,
) -> Fit:
    """From `start` (parameters,), probabilities, until the objective grows by less than `tolerance`
    of itself three times running. `step` is one EM update; `most_steps` counts its calls."""
    here, value = start, objective(start)
    values, quiet, calls = [value], 0, 0
    while calls + 3 <= most_steps:
        once = step(here)
        twice = step(once)
        leap = step(_extrapolate(here, once, twice))
        calls += 3
        reached = objective(leap)
        if not reached >= value:  # NaN included
            leap, reached = twice, objective(twice)
        quiet = quiet + 1 if reached - value <= tolerance * abs(value) else 0
        if reached < value:  # rounding, at the top
            return Fit(here, tuple(values), True)
        here, value = leap, reached
        values.append(value)
        if quiet >= _PATIENCE:
            return Fit(here, tuple(values), True)
    return Fit(here, tuple(values), False)


def _extrapolate(here: FloatArray, once: FloatArray, twice: FloatArray) -> FloatArray:
    """here - 2 a r + a^2 v with r the first step, v its change, a = -|r| / |v|, in log odds."""
    start, first, second = _logit(here), _logit(once), _logit(twice)
    change = (second - first) - (first - start)
    size = float(np.linalg.norm(change))
    if size == 0:
        return twice
    length = min(-float(np.linalg.norm(first - start)) / size, -1.0)
    far = start - 2 * length * (first - start) + length**2 * change
    leap: FloatArray = 1 / (1 + np.exp(-np.clip(far, -25, 25)))
    return leap


def _logit(probabilities: FloatArray) -> FloatArray:
    inside = np.clip(probabilities, EDGE, 1 - EDGE)
    odds: FloatArray = np.log(inside / (1 - inside))
    return odds
