"""One rerank stage: a query and its passages in, a score for each out, off the event loop.

passages -> score cache -> reader (threads) -> sub-requests in rank order -> batcher -> sheet.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b

from sidecar.config import PlannerConfig, RerankerConfig
from sidecar.errors import ModelError, ModelUnavailableError, OverloadedError, SidecarError
from sidecar.models.base import CrossEncoder, ScorablePair
from sidecar.models.contract import ModelContract
from sidecar.models.foreground import PATIENCE_SECONDS, foreground
from sidecar.rerank import outlook
from sidecar.rerank.batcher import SMALLEST_SHARE, Batcher
from sidecar.rerank.errand import Errand, PairScore, StageScores
from sidecar.rerank.forecast import Forecast
from sidecar.rerank.lanes import Lanes
from sidecar.rerank.model_queue import Wanted
from sidecar.rerank.pace import Pace
from sidecar.rerank.reader import Read, Reader
from sidecar.rerank.score_cache import PairKeys, ScoreCache
from sidecar.rerank.sheet import ScoreSheet
from sidecar.rerank.work import QueuedRequest
from sidecar.types import LongPassages, RequestClass, Stage, StageReason, Truncation

__all__ = ["Errand", "Forecast", "Lanes", "PairScore", "Reranker", "ScoreCache", "StageScores"]

CHUNK_CANDIDATES = 32  # that a thread tokenizes at a time: others want the interpreter, too
TOKENIZING_THREADS = 2
WARM_UP_BATCHES = 3
WARM_UP_STEP_WORDS = 16
WARM_UP_PATIENCE_SECONDS = 1.0  # that a batch of it waits for a model with nothing else to do
WARM_UP_PACE_STEPS = 4  # of those lengths, every fourth tells the pace
_HARMLESS = ("what is water", "Water is a clear liquid that falls as rain and fills the seas.")


@dataclass(frozen=True, slots=True)
class _List:
    """What one call scores: the texts of the sheet's open rows, and their keys."""

    query: str
    truncation: Truncation
    sheet: ScoreSheet
    rows: Sequence[int]
    texts: Sequence[str]
    keys: Sequence[bytes] | None  # None: caches and the work of others are bypassed


class Reranker:
    """One stage's cross-encoder with its queue. One event loop; `close` when it is done.

    `lanes` are shared with the models that compute on the same cores; its own unless given, as are
    the threads that tokenize.
    """

    def __init__(
        self,
        stage: Stage,
        cross_encoder: CrossEncoder,
        config: RerankerConfig,
        *,
        lanes: Lanes | None = None,
        planner: PlannerConfig | None = None,
        cache: ScoreCache | None = None,
        tokenizing: Executor | None = None,
    ) -> None:
        planner = planner or PlannerConfig()
        self.stage = stage
        self.config = config
        self.truncation = config.to_truncation()
        self._cross_encoder = cross_encoder
        self._cache = cache if cross_encoder.batch_invariant else None
        self._step = max(1, planner.sub_request_candidates)
        self._threads = tokenizing or ThreadPoolExecutor(TOKENIZING_THREADS, "tokenizing")
        self._reader = Reader(cross_encoder, self._threads)
        self._pace = Pace(planner.pace_quantile)
        self._harmless = _harmless_pair(cross_encoder)
        lanes = lanes or Lanes(cross_encoder.feed.side_by_side)
        self._batcher = Batcher(stage, cross_encoder, config, lanes, self._pace, self._harmless)

    @property
    def contract(self) -> ModelContract:
        """The model's."""
        return self._cross_encoder.contract

    @property
    def weight(self) -> float:
        """Share of the model's score against the earlier stage's, 0 to 1."""
        return self.config.weight if self.config.weight >= 0.0 else self.contract.weight

    @property
    def mean_tokens(self) -> float:
        """Tokens that the model read for a candidate of late, in the mean."""
        return self._reader.pair_tokens

    @property
    def is_idle(self) -> bool:
        """Nobody waits and nothing runs."""
        return self._batcher.is_idle

    def template_digest(self, truncation: Truncation) -> str:
        """Hex digest of how the model is asked: tokenizer, template, and the budgets in effect."""
        in_chunks = truncation.long_passages is LongPassages.CHUNK_AND_MAX
        asked = (
            self._cross_encoder.template_digest,
            self.contract.query_budget(truncation.max_query_tokens),
            self.contract.passage_budget(truncation.max_passage_tokens),
            truncation.long_passages.value,
            truncation.max_chunks if in_chunks else 1,
        )
        return blake2b(repr(asked).encode(), digest_size=16).hexdigest()

    def estimate_tokens(
        self, query: str, passages: Sequence[str | None], truncation: Truncation | None = None
    ) -> list[int]:
        """Tokens that the model will read for each passage, guessed from its characters."""
        return self._reader.estimate(query, passages, truncation or self.truncation)

    def forecast(self, request_class: RequestClass, caller: str) -> Forecast:
        """What a new request may expect of the model at this moment."""
        self._batcher.note_forecast()
        now = asyncio.get_running_loop().time()
        return outlook.forecast(self._batcher, request_class, caller, now)

    def work_seconds(self, tokens: int) -> float:
        """Time that these tokens take, with the model to themselves."""
        return tokens * self._pace.seconds_per_token / self._batcher.width

    async def warm_up(self) -> None:
        """Has the model score a few harmless batches, so that its pace is known; before requests.

        Raises ModelError.
        """
        loop, feed = asyncio.get_running_loop(), self._cross_encoder.feed
        pairs = [self._harmless] * max(1, feed.batch_tokens // self._harmless.length)
        tokens = sum(pair.length for pair in pairs)
        for number in range(WARM_UP_BATCHES):
            started = loop.time()
            await self._cross_encoder.score(pairs)
            if number:  # the first is slow: it makes what the others find made
                self._pace.observe_batch(loop.time(), loop.time() - started, tokens, tokens)

    async def warm_up_behind(self) -> None:
        """The same for a model that is loaded beside those that serve: between requests and behind
        all that waits for the same cores, in small batches, since one that has begun is not
        stopped, and at every length, since a runtime plans anew for one it has not seen.

        Raises ModelError, also for a score that is no number.
        """
        most = self.contract.passage_budget(self.truncation.max_passage_tokens)
        await self._time_harmless()
        for words in range(1, most + 1, WARM_UP_STEP_WORDS):
            await self._score_behind(words)
        self._pace.forget()  # the first batch of a length is slow
        for words in range(1, most + 1, WARM_UP_STEP_WORDS * WARM_UP_PACE_STEPS):
            await self._score_behind(words)

    async def score(
        self, query: str, passages: Sequence[str | None], errand: Errand
    ) -> StageScores:
        """A score for each passage of the longest prefix that was settled by `errand.deadline`.

        A passage that is None is NEEDS_TEXT, a blank one EMPTY_TEXT, one over its budget under
        REJECT TOO_LONG, one that the model failed on NOT_FINITE. Raises ModelError if the model
        failed on all of them; ModelUnavailableError (at once while the model is not asked) and
        OverloadedError if for that reason none of the prefix got a score. Cancelled, it leaves the
        queue in the same turn of the event loop.
        """
        wanted = self._to_list(query, passages, errand)
        if not wanted.rows:
            return StageScores(wanted.sheet.prefix())
        tokens = sum(self._reader.estimate(query, wanted.texts, wanted.truncation))
        try:
            request = self._batcher.enter(errand, tokens)
        except (ModelUnavailableError, OverloadedError) as failure:
            return _cut_short(wanted.sheet.prefix(), 0.0, failure)
        try:
            async with asyncio.timeout_at(_finite(errand.deadline)):
                await self._feed(request, wanted)
                await request.wait()
        except TimeoutError:
            request.expired = True
        finally:
            self._batcher.leave(request)
            self._collect(request, wanted)
        return self._to_scores(request, wanted)

    def close(self) -> None:
        """Fails what waits, cancels what runs."""
        self._batcher.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _time_harmless(self) -> None:
        """One pair, whose time says for how long batches may be waited for: however slow."""
        loop, tokens = asyncio.get_running_loop(), self._harmless.length
        started = loop.time()
        await self._cross_encoder.score([self._harmless])
        self._pace.observe_batch(loop.time(), loop.time() - started, tokens, tokens)

    async def _score_behind(self, words: int) -> None:
        """Passages of so many words, behind the others if their turn comes soon."""
        query, word = _HARMLESS[0], _HARMLESS[0].split()[-1]
        tokens = self._cross_encoder.feed.batch_tokens // SMALLEST_SHARE
        count = max(1, tokens // (words + self._harmless.length))
        passages = [" ".join([word] * words)] * count
        await foreground().quiet(PATIENCE_SECONDS)
        deadline = asyncio.get_running_loop().time() + WARM_UP_PATIENCE_SECONDS
        behind = Errand(deadline, RequestClass.OFFLINE, use_cache=False)
        scores = await self.score(query, passages, behind)
        if scores.reason is StageReason.DEADLINE:  # on a machine that is full it would never come
            scores = await self._score_at_last(query, passages)
        if scores.detail or any(pair.score is None for pair in scores.pairs):
            raise ModelError(
                f"{self.contract.name} gives no score to a passage of {words} words"
                f"{scores.detail and ': '}{scores.detail}"
            )

    async def _score_at_last(self, query: str, passages: Sequence[str]) -> StageScores:
        """As a request among others, again and again while too many wait."""
        while True:
            try:
                return await self.score(query, passages, Errand(use_cache=False))
            except OverloadedError as error:
                await asyncio.sleep(min(error.retry_seconds, WARM_UP_PATIENCE_SECONDS))

    def _to_list(self, query: str, passages: Sequence[str | None], errand: Errand) -> _List:
        """What is to be scored; what was scored before is in the sheet already."""
        truncation = errand.truncation or self.truncation
        sheet = ScoreSheet(passages, self.contract.probability)
        rows = sheet.open_rows()
        texts = [passages[row] or "" for row in rows]
        if not errand.use_cache:
            return _List(query, truncation, sheet, rows, texts, None)
        digest = self.template_digest(truncation)
        key = PairKeys(self.contract.name, self.contract.revision, digest, query).key
        keys = [key(text) for text in texts]
        if self._cache is None:
            return _List(query, truncation, sheet, rows, texts, keys)
        missing = []
        for at, known in enumerate(self._cache.get_all(keys)):
            if known is None:
                missing.append(at)
            else:
                sheet.fill_cached(rows[at], known)
        return _List(
            query,
            truncation,
            sheet,
            [rows[at] for at in missing],
            [texts[at] for at in missing],
            [keys[at] for at in missing],
        )

    async def _feed(self, request: QueuedRequest, wanted: _List) -> None:
        """Reads the texts and submits them, sub-request by sub-request, in order."""
        guess, total, start = request.unread_tokens, len(wanted.texts), 0
        while start < total and not request.is_over:
            # The first sub-request alone: the model need not wait for the others to be read.
            count = self._step * max(1, CHUNK_CANDIDATES // self._step) if start else self._step
            texts = wanted.texts[start : start + count]
            read = await self._reader.read(wanted.query, texts, wanted.truncation)
            for first in range(0, len(read), self._step):
                self._submit(request, wanted, start + first, read[first : first + self._step])
            start += len(read)
            request.unread_tokens = guess * (total - start) // total

    def _submit(
        self, request: QueuedRequest, wanted: _List, start: int, read: Sequence[Read]
    ) -> None:
        """One sub-request: the texts from `start` on, as they were read."""
        if request.is_over:
            return
        pairs: list[Wanted] = []
        for at, one in enumerate(read, start):
            if isinstance(one, Exception):
                wanted.sheet.fill_unreadable(wanted.rows[at])
                request.model_error = one
                continue
            wanted.sheet.expect(at, one, len(request.scores) + len(pairs))
            key = wanted.keys[at] if wanted.keys is not None else None
            pairs.extend(_with_keys(one.pairs, key))
        self._batcher.submit(request, pairs)

    def _collect(self, request: QueuedRequest, wanted: _List) -> None:
        """Writes what was settled into the sheet and the cache."""
        scored = wanted.sheet.fill_scored(wanted.rows, request.scores)
        if self._cache is not None and wanted.keys is not None:
            self._cache.put_all((wanted.keys[at], score) for at, score in scored)

    def _to_scores(self, request: QueuedRequest, wanted: _List) -> StageScores:
        pairs, error = wanted.sheet.prefix(), request.model_error
        has_score = any(pair.score is not None for pair in pairs)
        began = request.began or asyncio.get_running_loop().time()
        seconds = began - request.entered
        if len(pairs) == len(wanted.sheet.rows):
            if error is not None and not has_score:
                raise ModelError(f"{self.contract.name} failed on every pair: {error}") from error
            return StageScores(pairs, seconds)
        if request.failure is None:
            return StageScores(pairs, seconds, StageReason.DEADLINE)
        return _cut_short(pairs, seconds, request.failure)


def _cut_short(pairs: tuple[PairScore, ...], seconds: float, failure: SidecarError) -> StageScores:
    """What there is, and why no more. Raises the failure if there is no score."""
    if all(pair.score is None for pair in pairs):
        raise failure
    is_full = isinstance(failure, OverloadedError)
    reason = StageReason.OVERLOADED if is_full else StageReason.MODEL_UNAVAILABLE
    return StageScores(pairs, seconds, reason, failure.message)


def _harmless_pair(cross_encoder: CrossEncoder) -> ScorablePair:
    query, passage = _HARMLESS
    return cross_encoder.tokenize(query, [passage], Truncation())[0].pairs[0]


def _with_keys(pairs: Sequence[ScorablePair], key: bytes | None) -> list[Wanted]:
    """The pairs of one passage, each with a key of its own."""
    if key is None or len(pairs) == 1:
        return [(pair, key) for pair in pairs]
    return [(pair, (key, number)) for number, pair in enumerate(pairs)]


def _finite(deadline: float) -> float | None:
    return None if math.isinf(deadline) else deadline
