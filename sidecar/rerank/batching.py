"""Which pairs are scored together, and what happens when a batch fails.

Pure but for the model that is called: plan_batches -> score_isolating for each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sidecar.models.base import Pair, Scores

Score = Callable[[Sequence[Pair]], Scores]


@dataclass(frozen=True, slots=True)
class BatchScores:
    """The scores of one batch, NaN where a pair failed, and the first error if one was raised."""

    scores: Scores
    error: Exception | None = None


def plan_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indexes of pairs in batches of at most `batch_size`, longest pairs first.

    A batch is padded to its longest pair, so pairs of like length go together; the longest come
    first so that the last batches, which leave other threads idle, are short. Ties keep order.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def score_isolating(score: Score, pairs: Sequence[Pair]) -> BatchScores:
    """The scores of a batch; where it raises, it is halved until each culprit stands alone.

    A culprit's score is NaN. Costs at most two calls a pair, and none extra when nothing raises.
    """
    try:
        return BatchScores(np.asarray(score(pairs), dtype=np.float32))
    except Exception as error:  # a batch must not fail for one pair, whatever the runtime raises
        if len(pairs) == 1:
            return BatchScores(np.full(1, np.nan, dtype=np.float32), error)
        half = len(pairs) // 2
        parts = (score_isolating(score, pairs[:half]), score_isolating(score, pairs[half:]))
        scores = np.concatenate([part.scores for part in parts])
        return BatchScores(scores, parts[0].error or parts[1].error or error)
