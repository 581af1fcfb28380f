"""Whether a server gives the scores that the model's contract promises."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from sidecar.models.base import Scores
from sidecar.models.contract import ModelContract
from sidecar.models.vllm.replicas import WrongScoresError

_log = logging.getLogger(__name__)
COSINE_SHARE = 0.1  # of the tolerance in logits


def say_unchecked(contract: ModelContract) -> None:
    """Says so if there is nothing to compare a server's scores with."""
    if not contract.golden_pairs:
        _log.warning(
            "%s has no golden pairs: whatever its servers answer is taken for its scores "
            "(a contract.json in its folder may hold some)",
            contract.name,
        )


def check_golden(given: Scores, golden: Sequence[float], tolerance: float, what: str) -> None:
    """Raises WrongScoresError if one of `given` is further than `tolerance` from the contract's."""
    apart = np.abs(given - np.array(golden, dtype=np.float32))
    worst = float(np.where(np.isfinite(apart), apart, np.inf).max(initial=0.0))
    if worst > tolerance:
        raise WrongScoresError(
            f"the {what} of a golden pair is {worst:.3g} from the contract's ({tolerance:.3g} is "
            "tolerated): another model or revision, its template, or an activation over its scores"
        )
