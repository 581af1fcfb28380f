"""What was found of a log's position bias, as plain values for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.clicks.log import FloatArray
from training.propensity.perplexity import Perplexity
from training.propensity.report import Identifiability

DIGITS = 5


def of_identifiability(found: Identifiability) -> dict[str, Any]:
    """One row a rank, and the table in words."""
    ranks = [
        {
            "rank": rank + 1,
            "propensity": _finite(found.propensities[rank]),
            "lower": _finite(found.lower[rank]),
            "upper": _finite(found.upper[rank]),
            "shared_pairs": int(np.delete(found.pairs_at_both[rank], rank).max(initial=0)),
            "identified": not reason,
            "reason": reason,
        }
        for rank, reason in enumerate(found.reasons)
    ]
    return {
        "estimator": found.estimator,
        "all_identified": found.all_identified,
        "ranks": ranks,
        "words": found.lines(),
    }


def of_perplexity(found: Perplexity) -> dict[str, Any]:
    """By rank, NaN as null."""
    return {
        "mean": _finite(found.mean),
        "conditional_mean": _finite(found.conditional_mean),
        "log_likelihood": _finite(found.log_likelihood),
        "by_rank": _row(found.by_rank),
        "conditional_by_rank": _row(found.conditional_by_rank),
    }


def _row(values: FloatArray) -> list[float | None]:
    return [_finite(value) for value in values]


def _finite(value: float) -> float | None:
    return round(float(value), DIGITS) if np.isfinite(value) else None
