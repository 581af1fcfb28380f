"""One rerank stage: a query and its passages in, a score for each out, off the event loop.

passages -> tokenize -> batches of like length -> the reranker's own worker threads -> scores.
Batches are submitted one after the other, so requests interleave, and a cancelled request costs no
more than the batches under way.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sidecar.config import RerankerConfig
from sidecar.errors import ModelError, OverloadedError
from sidecar.models.base import CrossEncoder, Pair
from sidecar.models.contract import ModelContract
from sidecar.rerank.batching import BatchScores, plan_batches, score_isolating
from sidecar.types import Stage, UnscoredReason

QUEUE_CAPACITY_PAIRS = 4096
_FIRST_GUESS_PAIRS_PER_SECOND = 100.0
_RATE_SMOOTHING = 0.1  # weight of the newest batch in the moving rate


@dataclass(frozen=True, slots=True)
class PairScore:
    """One passage's score, or why it has none. `token_count` is that of the pair before any cut."""

    score: float | None
    token_count: int | None = None
    truncated: bool = False
    reason: UnscoredReason = UnscoredReason.NONE


_EMPTY = PairScore(None, reason=UnscoredReason.EMPTY_TEXT)


class Reranker:
    """One stage's cross-encoder with its queue. One event loop; `close` when it is done."""

    def __init__(
        self,
        stage: Stage,
        cross_encoder: CrossEncoder,
        config: RerankerConfig,
        queue_capacity_pairs: int = QUEUE_CAPACITY_PAIRS,
    ) -> None:
        self.stage = stage
        self.config = config
        self._cross_encoder = cross_encoder
        self._capacity = queue_capacity_pairs
        self._queued_pairs = 0
        self._pairs_per_second = _FIRST_GUESS_PAIRS_PER_SECOND
        self._workers = ThreadPoolExecutor(cross_encoder.concurrency, f"rerank-{stage.name}")

    @property
    def contract(self) -> ModelContract:
        """The model's."""
        return self._cross_encoder.contract

    @property
    def weight(self) -> float:
        """Share of the model's score against the earlier stage's, 0 to 1."""
        return self.config.weight if self.config.weight >= 0.0 else self.contract.weight

    @property
    def queued_pairs(self) -> int:
        """Pairs of requests that are not yet answered."""
        return self._queued_pairs

    async def score(self, query: str, passages: Sequence[str]) -> list[PairScore]:
        """A score for each passage, in order.

        A pair that the model cannot score (it raises, NaN, infinity) is NOT_FINITE, an empty
        passage EMPTY_TEXT; the others have their scores. Raises ModelError if the model raised and
        no pair has a score, OverloadedError if more pairs are queued than fit. May be cancelled.
        """
        rows = [row for row, passage in enumerate(passages) if passage.strip()]
        self._check_capacity(len(rows))
        self._queued_pairs += len(rows)
        try:
            scored = await self._score_texts(query, [passages[row] for row in rows])
        finally:
            self._queued_pairs -= len(rows)
        scores = [_EMPTY] * len(passages)
        for row, pair_score in zip(rows, scored, strict=True):
            scores[row] = pair_score
        return scores

    def close(self) -> None:
        """Drops what is queued and waits for the batches under way."""
        self._workers.shutdown(wait=True, cancel_futures=True)

    def _check_capacity(self, pairs: int) -> None:
        if self._queued_pairs and self._queued_pairs + pairs > self._capacity:
            raise OverloadedError(
                f"{self._queued_pairs} pairs wait for the {self.stage.name} reranker, "
                f"{self._capacity} are the limit: send it again later",
                retry_seconds=self._queued_pairs / self._pairs_per_second,
            )

    async def _score_texts(self, query: str, passages: Sequence[str]) -> list[PairScore]:
        loop = asyncio.get_running_loop()
        pairs = await loop.run_in_executor(self._workers, self._tokenize, query, passages)
        scores = [math.nan] * len(pairs)
        lengths = [len(pair.input_ids) for pair in pairs]
        batches = iter(plan_batches(lengths, self.config.batch_size))
        errors: list[Exception] = []
        lanes = min(self._cross_encoder.concurrency, len(pairs))
        await asyncio.gather(
            *(self._run_lane(batches, pairs, scores, errors) for _ in range(lanes))
        )
        if errors and not any(math.isfinite(score) for score in scores):
            raise ModelError(f"{self.contract.name} failed on every pair: {errors[0]}")
        return [_to_pair_score(pair, score) for pair, score in zip(pairs, scores, strict=True)]

    async def _run_lane(
        self,
        batches: Iterator[list[int]],
        pairs: Sequence[Pair],
        scores: list[float],
        errors: list[Exception],
    ) -> None:
        """Takes batches until there are none left: as many lanes as batches run side by side."""
        loop = asyncio.get_running_loop()
        for rows in batches:
            batch = [pairs[row] for row in rows]
            answer = await loop.run_in_executor(self._workers, self._score_batch, batch)
            for row, score in zip(rows, answer.scores.tolist(), strict=True):
                scores[row] = score
            if answer.error is not None:
                errors.append(answer.error)

    def _tokenize(self, query: str, passages: Sequence[str]) -> list[Pair]:
        return self._cross_encoder.tokenize(
            query, passages, self.config.max_query_tokens, self.config.max_passage_tokens
        )

    def _score_batch(self, pairs: Sequence[Pair]) -> BatchScores:
        started = time.perf_counter()
        answer = score_isolating(self._cross_encoder.score, pairs)
        rate = len(pairs) / max(time.perf_counter() - started, 1e-6)
        rate *= self._cross_encoder.concurrency
        self._pairs_per_second += _RATE_SMOOTHING * (rate - self._pairs_per_second)
        return answer


def _to_pair_score(pair: Pair, score: float) -> PairScore:
    finite = math.isfinite(score)
    return PairScore(
        score=score if finite else None,
        token_count=pair.token_count,
        truncated=pair.truncated,
        reason=UnscoredReason.NONE if finite else UnscoredReason.NOT_FINITE,
    )
