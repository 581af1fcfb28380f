"""Asks models again that were too slow for a moment, and keeps what they scored.

A pipeline that serves answers in time or with less; what is measured has to be whole.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sidecar.errors import ModelError, ModelUnavailableError, TryLaterError
from sidecar.pipeline.deadline import Deadline
from sidecar.recall.base import Recaller
from sidecar.rerank.reranker import Errand, Reranker, StageScores
from sidecar.types import Query, Ranking, Stage, StageReason

# What comes of too little time, and how long the model is left alone before it is asked again.
TRANSIENT = (StageReason.MODEL_UNAVAILABLE, StageReason.OVERLOADED, StageReason.DEADLINE)
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


class Recorder:
    """The search pipeline, and what one stage's model scored on the way.

    A query whose model was too slow for a moment, as on a machine with other work, is asked again:
    a ranking without it would be measured as the model's.
    """

    def __init__(self, pipeline: Any, stage: Stage) -> None:
        self._pipeline, self._stage = pipeline, stage
        self.scores: dict[str, dict[str, float]] = {}  # by the query's text

    async def run(
        self, recaller: Recaller, query: Query, deadline: Deadline
    ) -> AsyncIterator[Ranking]:
        for pause in PAUSES:
            rankings = [r async for r in self._pipeline.run(recaller, query, deadline)]
            if not _was_too_slow(rankings[-1]):
                break
            await asyncio.sleep(pause)
        self.scores[query.text] = _scores_of(rankings[-1], self._stage)
        for ranking in rankings:
            yield ranking


def _was_too_slow(ranking: Ranking) -> bool:
    return any(report.reason in TRANSIENT for report in ranking.stages)


async def scores_in_the_end(
    reranker: Reranker, query: str, texts: Sequence[str | None]
) -> StageScores:
    """Of all texts. Raises ModelError for a model that never has the time."""
    for pause in PAUSES:
        with contextlib.suppress(TryLaterError, ModelUnavailableError):
            found = await reranker.score(query, texts, Errand())
            if len(found.pairs) == len(texts):
                return found
        await asyncio.sleep(pause)
    raise ModelError(f"{reranker.contract.name} gave no scores: the machine has too much to do")


def _scores_of(ranking: Ranking, stage: Stage) -> dict[str, float]:
    """What the model of the stage gave: a cosine, or a logit."""
    found = {}
    for hit in ranking.hits:
        for each in hit.scores:
            score = each.model_score if stage > Stage.FUSED else each.score
            if each.stage is stage and score is not None:
                found[hit.doc_id] = round(float(score), 6)
    return found
