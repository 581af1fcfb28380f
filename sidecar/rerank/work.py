"""What waits for a model: requests, their sub-requests, and the pairs in them.

A pair is the unit of batching, a sub-request (a few candidates next to each other in rank) the unit
of order, a request the unit of fairness. A pair for which several requests wait is in a
sub-request of each, and is scored once, at the turn that comes first.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Hashable

from sidecar.errors import SidecarError
from sidecar.models.base import ScorablePair
from sidecar.types import RequestClass


class PairWork:
    """A pair to be scored once for all who wait for it.

    `batch` is None while it is queued. Without a `key` nobody but the first joins it.
    """

    __slots__ = ("batch", "key", "length", "pair", "waiters")

    def __init__(self, pair: ScorablePair, key: Hashable | None) -> None:
        self.pair = pair
        self.key = key
        self.length = pair.length
        self.waiters: list[tuple[SubRequest, int]] = []  # with the slot in the request's scores
        self.batch: Batch | None = None


class SubRequest:
    """The queued pairs of a few candidates, in rank order, and their tokens."""

    __slots__ = ("request", "tokens", "works")

    def __init__(self, request: QueuedRequest) -> None:
        self.request = request
        self.works: dict[PairWork, None] = {}
        self.tokens = 0


class QueuedRequest:
    """A request's place in the queue of one model, and what it has got so far.

    `scores` has a slot for each pair: None until it is settled, NaN where the model failed on it.
    `tokens` are queued, `unread_tokens` a guess at those that are still to be tokenized.
    `virtual_start` is its fair queue's (see there).
    """

    def __init__(
        self, request_class: RequestClass, caller: str, deadline: float, entered: float
    ) -> None:
        self.request_class = request_class
        self.caller = caller
        self.deadline = deadline
        self.entered = entered
        self.began: float | None = None  # when the model began with its first pair
        self.advanced = entered  # when the model last began with one of its pairs
        self.virtual_start = 0.0
        self.number = 0
        self.sub_requests: dict[SubRequest, None] = {}
        self.tokens = 0
        self.unread_tokens = 0
        self.scores: list[float | None] = []
        self.works: list[PairWork | None] = []
        self.outstanding = 0
        self.expired = False
        self.failure: SidecarError | None = None
        self.model_error: BaseException | None = None
        self.ageing: asyncio.TimerHandle | None = None
        self._wake: asyncio.Future[None] | None = None

    @property
    def is_over(self) -> bool:
        """Nothing more of it will be scored, whatever is submitted."""
        return self.expired or self.failure is not None

    def settle(self, slot: int, score: float, error: BaseException | None) -> None:
        """The outcome of one pair."""
        self.scores[slot] = score
        self.works[slot] = None
        self.outstanding -= 1
        if error is not None and math.isnan(score):
            self.model_error = error
        if not self.outstanding:
            self.wake()

    def wake(self) -> None:
        """Lets `wait` look again."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def wait(self) -> None:
        """Until all that was submitted is settled or dropped, or the request has failed."""
        while self.outstanding and self.failure is None:
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake


class Episode:
    """A batch and the parts that it was split into after it failed: one verdict on the model."""

    __slots__ = ("failed", "lost", "parts", "scored")

    def __init__(self) -> None:
        self.parts = 1  # that are still to end
        self.scored = False  # any of them
        self.failed = False
        self.lost = False


class Batch:
    """Pairs that are scored together; `live` of them have somebody who waits.

    `padded` are its tokens as they cost, `expected` the seconds it should take from `started` on.
    """

    __slots__ = (
        "cancelled",
        "episode",
        "expected",
        "is_probe",
        "live",
        "padded",
        "slots",
        "stall",
        "stalled",
        "started",
        "task",
        "tokens",
        "works",
    )

    def __init__(
        self, works: list[PairWork], episode: Episode | None = None, is_probe: bool = False
    ) -> None:
        self.works = works
        self.episode = episode or Episode()
        self.is_probe = is_probe
        self.live = sum(bool(work.waiters) for work in works)
        self.tokens = sum(work.length for work in works)
        self.padded = self.tokens
        self.started = 0.0
        self.expected = 0.0
        self.task: asyncio.Task[list[float]] | None = None
        self.stall: asyncio.TimerHandle | None = None
        self.slots = 0  # that it holds
        self.stalled = False
        self.cancelled = False
        for work in works:
            work.batch = self

    @property
    def request_class(self) -> RequestClass:
        """The best of those who wait for it."""
        return min(
            (sub.request.request_class for work in self.works for sub, _ in work.waiters),
            default=RequestClass.OFFLINE,
        )

    def halves(self) -> tuple[Batch, Batch]:
        """Two batches of the same episode, in order."""
        middle = len(self.works) // 2
        self.episode.parts += 1
        return Batch(self.works[:middle], self.episode), Batch(self.works[middle:], self.episode)
