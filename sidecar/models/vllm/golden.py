"""Whether a server gives the scores that the model's contract promises."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sidecar.models.base import Scores
from sidecar.models.vllm.replicas import WrongScoresError

COSINE_SHARE = 0.1  # of the tolerance in logits


def check_golden(given: Scores, golden: Sequence[float], tolerance: float, what: str) -> None:
    """Raises WrongScoresError if one of `given` is further than `tolerance` from the contract's."""
    apart = np.abs(given - np.array(golden, dtype=np.float32))
    worst = float(np.where(np.isfinite(apart), apart, np.inf).max(initial=0.0))
    if worst > tolerance:
        raise WrongScoresError(
            f"the {what} of a golden pair is {worst:.3g} from the contract's ({tolerance:.3g} is "
            "tolerated): another model or revision, its template, or an activation over its scores"
        )
