"""Rerankers in virtual time: a model that takes as long as it is told, and a clock that jumps.

A passage "17 40" is read as 40 tokens and scored 17.0; "17 40 40" is read as two such chunks.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

import numpy as np

from sidecar.config import PlannerConfig, RerankerConfig
from sidecar.models.base import Feed, Pair, ScorablePair, Scores, TokenizedPassage
from sidecar.models.contract import ModelContract
from sidecar.rerank.errand import Errand, StageScores
from sidecar.rerank.lanes import Lanes
from sidecar.rerank.reranker import Reranker
from sidecar.rerank.score_cache import ScoreCache
from sidecar.types import Stage, Truncation

T = TypeVar("T")
HARMLESS = 0  # what a text that does not begin with a number is scored


class _JumpingSelector(selectors.SelectSelector):
    """Does not wait: what would have been waited for is added to the time."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        assert ready or timeout is not None, "everything waits for something that never comes"
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while nothing is ready to run."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def hold_up(self, seconds: float) -> None:
        """Time passes in which nothing is run, whatever is ready."""
        self._jumping.now += seconds


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a test in virtual time; nothing may be left running at its end."""

    async def whole() -> T:
        result = await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return result

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(whole())


async def turns(count: int = 20) -> None:
    """Lets everything run that needs no time."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until_idle(reranker: Reranker) -> None:
    """Lets what is under way for nobody end: a probe, a batch that is deaf."""
    for _ in range(1000):
        if reranker.is_idle:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("something is left in the queue")


class Inline(Executor):
    """Runs at once, in the thread of the caller."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class TimedCrossEncoder:
    """Takes `seconds` plus `seconds_per_token` for each token of a batch, padding included.

    `begun` and `ended` have the numbers of the pairs of each batch. `fault` is called with the
    numbers as a batch ends: it may raise, or name those that are NaN. While `stuck`, batches never
    end, and with `deaf` not even when they are cancelled.
    """

    def __init__(
        self,
        seconds_per_token: float = 0.001,
        seconds: float = 0.0,
        feed: Feed | None = None,
        batch_invariant: bool = True,
        fault: Callable[[list[int]], set[int] | None] | None = None,
        name: str = "timed",
    ) -> None:
        self.contract = ModelContract(name=name, kind="cross-encoder", revision="r1")
        self.feed = feed or Feed(side_by_side=1, batch_tokens=160)
        self.batch_invariant = batch_invariant
        self.template_digest = "7e"
        self.seconds_per_token = seconds_per_token
        self.seconds = seconds
        self.fault = fault
        self.stuck = False
        self.deaf = False
        self.begun: list[list[int]] = []
        self.begun_at: list[float] = []
        self.lengths: list[list[int]] = []
        self.ended: list[list[int]] = []
        self.cancelled: list[list[int]] = []
        self.read = 0

    def tokenize(
        self, query: str, passages: Sequence[str], truncation: Truncation
    ) -> list[TokenizedPassage]:
        self.read += len(passages)
        return [_tokenized(passage) for passage in passages]

    async def score(self, pairs: Sequence[ScorablePair]) -> Scores:
        loop = asyncio.get_running_loop()
        numbers = [_number(pair) for pair in pairs]
        lengths = [pair.length for pair in pairs]
        self.begun.append(numbers)
        self.begun_at.append(loop.time())
        self.lengths.append(lengths)
        tokens = max(lengths) * len(pairs) if self.feed.pads else sum(lengths)
        try:
            await self._compute(self.seconds + self.seconds_per_token * tokens)
        except asyncio.CancelledError:
            self.cancelled.append(numbers)
            raise
        self.ended.append(numbers)
        nan = (self.fault(numbers) if self.fault is not None else None) or set()
        return np.array([math.nan if n in nan else n for n in numbers], dtype=np.float32)

    async def _compute(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        if not self.stuck:
            loop.call_later(seconds, lambda: done.done() or done.set_result(None))
        while not done.done():
            try:
                await asyncio.shield(done)
            except asyncio.CancelledError:
                if not self.deaf:
                    raise
                loop.call_later(3.0, lambda: done.done() or done.set_result(None))


def _tokenized(passage: str) -> TokenizedPassage:
    words = passage.split()
    if not words or not words[0].isdecimal():
        return TokenizedPassage((Pair((HARMLESS,) * 8, ()),), 8, False)
    number, lengths = int(words[0]), [int(word) for word in words[1:]] or [10]
    pairs = tuple(Pair((number,) * length, ()) for length in lengths)
    return TokenizedPassage(pairs, sum(lengths), False)


def _number(pair: ScorablePair) -> int:
    assert isinstance(pair, Pair)
    return pair.input_ids[0]


def open_reranker(
    encoder: TimedCrossEncoder,
    stage: Stage = Stage.FIRST_RERANK,
    lanes: Lanes | None = None,
    cache: ScoreCache | None = None,
    planner: PlannerConfig | None = None,
    **config: Any,
) -> Reranker:
    """A reranker that tokenizes inline."""
    return Reranker(
        stage,
        encoder,
        RerankerConfig(model="timed", **config),
        lanes=lanes,
        cache=cache,
        planner=planner,
        tokenizing=Inline(),
    )


def texts(numbers: Sequence[int], tokens: int = 10) -> list[str]:
    """Passages of so many tokens that are scored these numbers."""
    return [f"{number} {tokens}" for number in numbers]


def scores_of(answer: StageScores) -> list[float | None]:
    """The scores alone."""
    return [pair.score for pair in answer.pairs]


def errand(seconds: float = math.inf, **fields: Any) -> Errand:
    """An errand that is due in so many seconds."""
    return Errand(deadline=asyncio.get_running_loop().time() + seconds, **fields)
