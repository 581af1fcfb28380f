"""What the pipeline hands to a reranker and what it gets back."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sidecar.types import RequestClass, StageReason, Truncation, UnscoredReason


@dataclass(frozen=True, slots=True)
class Errand:
    """On whose behalf a list is scored.

    `deadline` is the `time.monotonic()` by which what is scored is handed back. `truncation` None
    is the configured one.
    """

    deadline: float = math.inf
    request_class: RequestClass = RequestClass.INTERACTIVE
    caller: str = ""
    truncation: Truncation | None = None
    use_cache: bool = True


@dataclass(frozen=True, slots=True)
class PairScore:
    """One passage's score (a logit), or why it has none.

    `token_count` is that of the pair before any cut; `truncated` says that some of it was not read.
    `probability` only where the model's contract has a calibration. `cached`: not computed now.
    """

    score: float | None
    token_count: int | None = None
    truncated: bool = False
    reason: UnscoredReason = UnscoredReason.NONE
    probability: float | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class StageScores:
    """The scores of the longest prefix of the passages that was settled in time.

    Where `pairs` are fewer than the passages, `reason` says why (DEADLINE, OVERLOADED,
    MODEL_UNAVAILABLE) and `detail` says it in words. `queue_seconds` is the time until the model
    began with the first pair; 0 if it was not asked.
    """

    pairs: tuple[PairScore, ...]
    queue_seconds: float = 0.0
    reason: StageReason = StageReason.NONE
    detail: str = ""
