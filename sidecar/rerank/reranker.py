"""One rerank stage: a query and its passages in, a score for each out, off the event loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b

from sidecar.config import PlannerConfig, RerankerConfig
from sidecar.errors import ModelError, ModelUnavailableError
from sidecar.models.base import CrossEncoder, ScorablePair, TokenizedPassage
from sidecar.models.contract import ModelContract
from sidecar.rerank.errand import Errand, PairScore, StageScores
from sidecar.rerank.forecast import Forecast
from sidecar.rerank.lanes import Lanes
from sidecar.rerank.score_cache import ScoreCache
from sidecar.types import RequestClass, Stage, StageReason, Truncation, UnscoredReason

__all__ = ["Errand", "Forecast", "Lanes", "PairScore", "Reranker", "ScoreCache", "StageScores"]

_FIRST_GUESS_SECONDS_PER_TOKEN = 5e-5
_FIRST_GUESS_TOKENS_PER_CHARACTER = 0.25


class Reranker:
    """One stage's cross-encoder with its queue. One event loop; `close` when it is done."""

    def __init__(
        self,
        stage: Stage,
        cross_encoder: CrossEncoder,
        config: RerankerConfig,
        *,
        lanes: Lanes | None = None,
        planner: PlannerConfig | None = None,
        cache: ScoreCache | None = None,
    ) -> None:
        self.stage = stage
        self.config = config
        self.truncation = config.to_truncation()
        self.mean_tokens = 100.0
        self._planner = planner or PlannerConfig()
        self._cross_encoder = cross_encoder
        self._threads = ThreadPoolExecutor(2, f"tokenize-{stage.name}")

    @property
    def contract(self) -> ModelContract:
        """The model's."""
        return self._cross_encoder.contract

    @property
    def weight(self) -> float:
        """Share of the model's score against the earlier stage's, 0 to 1."""
        return self.config.weight if self.config.weight >= 0.0 else self.contract.weight

    def template_digest(self, truncation: Truncation) -> str:
        """Hex digest of how the model is asked: tokenizer, template, budgets."""
        return blake2b(
            f"{self._cross_encoder.template_digest} {truncation}".encode(), digest_size=16
        ).hexdigest()

    def estimate_tokens(self, query: str, passages: Sequence[str | None]) -> list[int]:
        """Tokens of each pair, guessed from its characters; 0 where there is nothing to read."""
        return [
            min(320, 3 + int(_FIRST_GUESS_TOKENS_PER_CHARACTER * (len(query) + len(passage))))
            if passage
            else 0
            for passage in passages
        ]

    def forecast(self, request_class: RequestClass, caller: str) -> Forecast:
        """What a new request may expect at this moment."""
        return Forecast(True, "", _FIRST_GUESS_SECONDS_PER_TOKEN)

    def work_seconds(self, tokens: int) -> float:
        """The model's time that these tokens take."""
        return tokens * _FIRST_GUESS_SECONDS_PER_TOKEN

    async def score(
        self, query: str, passages: Sequence[str | None], errand: Errand
    ) -> StageScores:
        """A score for each passage of the longest prefix that was settled by `errand.deadline`.

        A passage that is None is NEEDS_TEXT, a blank one EMPTY_TEXT, one over its budget under
        REJECT TOO_LONG, one that the model failed on NOT_FINITE. Raises ModelError if the model
        failed on all of them, ModelUnavailableError and OverloadedError if none got a score.
        """
        truncation = errand.truncation or self.truncation
        settled: list[PairScore] = []
        errors: list[Exception] = []
        step = self._planner.sub_request_candidates
        when = None if errand.deadline == math.inf else errand.deadline
        reason = StageReason.NONE
        try:
            async with asyncio.timeout_at(when):
                for start in range(0, len(passages), step):
                    part = passages[start : start + step]
                    settled += await self._score_part(query, part, truncation, errors)
        except TimeoutError:
            reason = StageReason.DEADLINE
        if errors and not any(pair.score is not None for pair in settled):
            raise ModelError(f"{self.contract.name} failed on every pair: {errors[0]}")
        return StageScores(tuple(settled), 0.0, reason)

    def close(self) -> None:
        """Drops what is queued."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _score_part(
        self,
        query: str,
        passages: Sequence[str | None],
        truncation: Truncation,
        errors: list[Exception],
    ) -> list[PairScore]:
        scores = [_blank(passage) for passage in passages]
        rows = [row for row, passage in enumerate(passages) if passage and passage.strip()]
        loop = asyncio.get_running_loop()
        texts = [passages[row] or "" for row in rows]
        read = await loop.run_in_executor(
            self._threads, self._cross_encoder.tokenize, query, texts, truncation
        )
        logits = await self._logits([pair for one in read for pair in one.pairs], errors)
        at = 0
        for row, one in zip(rows, read, strict=True):
            own = logits[at : at + len(one.pairs)]
            at += len(own)
            scores[row] = self._to_pair_score(one, [x for x in own if math.isfinite(x)])
        return scores

    async def _logits(self, pairs: Sequence[ScorablePair], errors: list[Exception]) -> list[float]:
        if not pairs:
            return []
        try:
            return [float(x) for x in await self._cross_encoder.score(pairs)]
        except ModelUnavailableError:
            raise
        except Exception as error:
            if len(pairs) == 1:
                errors.append(error)
                return [math.nan]
            half = len(pairs) // 2
            first = await self._logits(pairs[:half], errors)
            return first + await self._logits(pairs[half:], errors)

    def _to_pair_score(self, read: TokenizedPassage, finite: Sequence[float]) -> PairScore:
        if finite:
            return PairScore(max(finite), read.token_count, read.truncated)
        reason = UnscoredReason.NOT_FINITE if read.pairs else UnscoredReason.TOO_LONG
        return PairScore(None, read.token_count, read.truncated, reason)


def _blank(passage: str | None) -> PairScore:
    reason = UnscoredReason.NEEDS_TEXT if passage is None else UnscoredReason.EMPTY_TEXT
    return PairScore(None, reason=reason)
