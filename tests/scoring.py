"""Scores of texts by a cross-encoder, for tests that do not care for batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sidecar.models.base import CrossEncoder, ScorablePair, Scores
from sidecar.types import Truncation


def pairs_of(
    model: CrossEncoder, query: str, passages: Sequence[str], truncation: Truncation | None = None
) -> list[ScorablePair]:
    """All pairs of the passages, in order."""
    read = model.tokenize(query, passages, truncation or Truncation())
    return [pair for passage in read for pair in passage.pairs]


def scores_of(
    model: CrossEncoder, query: str, passages: Sequence[str], truncation: Truncation | None = None
) -> Scores:
    """Logits of all pairs in one batch, in order. Not for use on an event loop."""
    return asyncio.run(model.score(pairs_of(model, query, passages, truncation)))
