"""One model's queue, across requests: which pairs are scored next, and what becomes of them.

enter -> submit -> (a lane is free) -> start -> scored, or failed and split, or lost -> leave

There is no loop and no sleep in it: everything happens in the turn of the event loop in which work
comes, a batch ends, a request leaves, or a time is up.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from sidecar.config import RerankerConfig
from sidecar.errors import ModelError, ModelUnavailableError, OverloadedError
from sidecar.models.base import CrossEncoder, ScorablePair
from sidecar.rerank.batch_choice import Limits
from sidecar.rerank.breaker import Breaker
from sidecar.rerank.errand import Errand
from sidecar.rerank.gauges import ModelGauges
from sidecar.rerank.lanes import Lanes, Urgency
from sidecar.rerank.model_queue import ModelQueue, Wanted
from sidecar.rerank.pace import Pace
from sidecar.rerank.runner import PROBE_SECONDS, STALLED_SECONDS, Runner
from sidecar.rerank.work import Batch, PairWork, QueuedRequest
from sidecar.types import RequestClass, Stage

SMALLEST_SHARE = 4  # a batch is split over idle lanes down to a quarter of its budget
NEGLECTED_SECONDS = 1.0


class Batcher:
    """One model's. `harmless_pair` is one that the model should be able to score."""

    def __init__(
        self,
        stage: Stage,
        encoder: CrossEncoder,
        config: RerankerConfig,
        lanes: Lanes,
        pace: Pace,
        harmless_pair: ScorablePair,
    ) -> None:
        self.stage = stage
        self.feed = encoder.feed
        self.lanes = lanes
        self.pace = pace
        self.queue = ModelQueue()
        self.breaker = Breaker()
        self.runner = Runner(encoder, lanes, pace, self)
        self._name = encoder.contract.name
        self._config = config
        self._harmless_pair = harmless_pair
        self._again: list[Batch] = []  # parts of batches that failed, to be scored by themselves
        self._probe: Batch | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._suspicion: asyncio.TimerHandle | None = None
        self._asked_since: float | None = None
        self._gauges = ModelGauges(stage, self._name)
        lanes.attach(self)

    @property
    def width(self) -> int:
        """Batches that may run at a time."""
        return max(1, min(self.feed.side_by_side, self.lanes.slots))

    @property
    def is_idle(self) -> bool:
        """Nobody waits and nothing runs."""
        under_way = self.runner.running or self._again or self._probe
        return self.queue.is_empty and not under_way

    @property
    def closed_detail(self) -> str:
        """Why the model is not asked; empty if it is."""
        if self.breaker.is_closed:
            return ""
        return f"{self._name} is not asked for now: {self.breaker.cause}"

    # What requests do

    def enter(self, errand: Errand, tokens: int) -> QueuedRequest:
        """A new request of about so many tokens, admitted whole.

        Raises ModelUnavailableError while the model is not asked, OverloadedError if they do not
        fit into the queue; any number fits into an empty one.
        """
        if not self.breaker.is_closed:
            raise ModelUnavailableError(self.closed_detail)
        waiting = self.queue.announced_tokens
        if waiting and waiting + tokens > self._config.queue_tokens:
            raise self._overloaded(f"{waiting} of {self._config.queue_tokens} tokens are taken")
        loop = asyncio.get_running_loop()
        request = QueuedRequest(
            errand.request_class, errand.caller, errand.deadline, entered=loop.time()
        )
        request.unread_tokens = tokens
        self.queue.enter(request)
        request.ageing = loop.call_later(self._config.queue_seconds, self._age, request)
        return request

    def submit(self, request: QueuedRequest, wanted: Sequence[Wanted]) -> None:
        """The next sub-request of a request, unless nothing more of it will be scored."""
        if not request.is_over:
            self.queue.submit(request, wanted)
            self._gauges.queue(self.queue.pairs, self.queue.tokens)
            self.lanes.wake()

    def leave(self, request: QueuedRequest) -> None:
        """The request wants nothing more: what of it is queued leaves at once, and batches in which
        nobody else has a pair are cancelled."""
        if request.ageing is not None:
            request.ageing.cancel()
        for batch in self.queue.leave(request):
            self._desert(batch)
        if request.began is not None:
            self._gauges.waited(request.began - request.entered)
        self._gauges.queue(self.queue.pairs, self.queue.tokens)

    def note_forecast(self) -> None:
        """The model is being asked about: scores a harmless batch if that has gone on for a while,
        and it was given nothing.

        Plans are made with the pace of the last batches; were that too slow by far (on a machine
        that was held up), no plan would include the model, and no batch would put it right.
        """
        now = asyncio.get_running_loop().time()
        if self._asked_since is None:
            self._asked_since = now
        elif now - self._asked_since > NEGLECTED_SECONDS and self.breaker.is_closed:
            self._asked_since = now
            if self.is_idle:
                self.try_model(self.feed.batch_tokens // 2)

    def try_model(self, tokens: int = 0) -> None:
        """Queues a batch of so many tokens of a harmless pair, one pair at least, before all."""
        if self._is_probing:
            return
        pair = self._harmless_pair
        copies = max(1, tokens // pair.length)
        self._probe = Batch([PairWork(pair, None) for _ in range(copies)], is_probe=True)
        self.lanes.wake()

    def close(self) -> None:
        """Fails what waits and cancels what runs."""
        self._fail_waiting(ModelUnavailableError(f"{self._name} is being shut down"))
        for timer in (self._retry, self._suspicion):
            if timer is not None:
                timer.cancel()
        self._probe = None
        for batch in list(self.runner.running):
            self._desert(batch)
        self.lanes.detach(self)

    # What lanes do

    def urgency(self) -> Urgency | None:
        """Of what waits; None if nothing does, or the model runs all that it may."""
        if len(self.runner.running) >= self.feed.side_by_side:
            return None
        if self._probe is not None:
            return (0, self.stage, 0.0)
        best = self.queue.best_class()
        if self._again:
            again = min(batch.request_class for batch in self._again)
            best = again if best is None else min(best, again)
        return None if best is None else (best, self.stage, self.queue.virtual_time(best))

    def slots_wanted(self) -> int:
        """Slots that the next batch will hold."""
        is_probe = self._probe is not None
        return 0 if is_probe else self.lanes.slots_of_batch(self.feed.side_by_side)

    def start(self) -> bool:
        """Starts the next batch; False if instead it dropped a request that would be late."""
        batch = self._next_batch()
        if batch is None:
            return False
        self._asked_since = None
        is_patient = batch.is_probe and not self.breaker.is_closed
        self.runner.launch(batch, PROBE_SECONDS if is_patient else STALLED_SECONDS)
        self._gauges.began(batch, self.feed.batch_tokens)
        return True

    def _next_batch(self) -> Batch | None:
        if self._probe is not None:
            probe, self._probe = self._probe, None
            return probe
        best = self.queue.best_class()
        again = min(self._again, key=lambda batch: batch.request_class, default=None)
        if again is not None and (best is None or again.request_class <= best):
            self._again.remove(again)
            return again
        return None if best is None else self._form(best)

    def _form(self, request_class: RequestClass) -> Batch | None:
        limits = Limits(
            tokens=self._budget(request_class),
            pads=self.feed.pads,
            now=asyncio.get_running_loop().time(),
            seconds_per_token=self.pace.seconds_per_padded_token,
        )
        works = self.queue.take(request_class, limits)
        return Batch(works) if works else None

    def _budget(self, request_class: RequestClass) -> int:
        """Tokens of the next batch: where lanes are idle and little waits, each gets a share."""
        most = self.feed.batch_tokens
        idle = min(
            self.lanes.free // self.lanes.slots_of_batch(self.feed.side_by_side),
            self.feed.side_by_side - len(self.runner.running),
        )
        if not self.feed.shares_cores or idle < 2:
            return most
        share = math.ceil(self.queue.waiting_tokens(request_class) / idle)
        return min(most, max(share, most // SMALLEST_SHARE))

    # What becomes of a batch (runner.Outcomes)

    def scored(self, batch: Batch, scores: list[float], seconds: float) -> None:
        """Settles its pairs; a batch of nothing but NaN is one that failed."""
        finite = [math.isfinite(score) for score in scores]
        if not any(finite):
            self._fail(batch, ModelError(f"{self._name} returned no finite score"), "nan")
            return
        now = asyncio.get_running_loop().time()
        self.pace.observe_batch(now, seconds, batch.tokens, batch.padded)
        self.lanes.deal()  # before the rest, in which a lane would be idle
        for work, score, is_finite in zip(batch.works, scores, finite, strict=True):
            self.queue.settle(work, score if is_finite else math.nan)
        self._gauges.scored(batch, seconds, sum(finite))
        batch.episode.scored = True
        self._close_part(batch)

    def failed(self, batch: Batch, error: BaseException) -> None:
        """Splits it, until each culprit stands alone."""
        self._fail(batch, error, "error")

    def lost(self, batch: Batch, error: ModelUnavailableError) -> None:
        """Fails those who wait for it."""
        self._gauges.failed("unavailable")
        self.queue.fail(batch.works, error)
        batch.episode.lost = True
        self._close_part(batch, error.message)
        self.lanes.deal()

    def stalled(self, batch: Batch, cause: str) -> None:
        """Fails those who wait for it; the model is asked no more if it happens again and again, or
        if not even a harmless pair comes back: a machine may be held up for a second."""
        loop = asyncio.get_running_loop()
        self._gauges.failed("stalled")
        self.queue.fail(batch.works, ModelUnavailableError(f"{self._name}: {cause}"))
        if batch.is_probe:
            self.breaker.open(loop.time(), cause)
        else:
            self.breaker.lose(loop.time(), cause)
        self._note_breaker()
        if self.breaker.is_closed:
            self.try_model()
            self._suspicion = loop.call_later(STALLED_SECONDS, self._check_places, cause)
        self.lanes.deal()

    def _check_places(self, cause: str) -> None:
        """Asks the model no more if it still holds on to all that stalled."""
        stalled = sum(batch.stalled for batch in self.runner.running)
        if stalled >= self.feed.side_by_side:
            self.breaker.open(asyncio.get_running_loop().time(), cause)
            self._note_breaker()

    def cancelled(self, batch: Batch, came_back: bool) -> None:
        """Nobody waits for it."""
        self._gauges.cancelled(batch, came_back)
        self._close_part(batch)
        self.lanes.deal()

    def _fail(self, batch: Batch, error: BaseException, cause: str) -> None:
        if self.breaker.is_closed and not batch.episode.failed and not batch.is_probe:
            self.try_model()  # is it the pairs, or the model?
        batch.episode.failed = True
        is_alone = len(batch.works) == 1 and not batch.is_probe
        self._gauges.failed(cause, culprits=int(is_alone))
        if is_alone:
            self.queue.settle(batch.works[0], math.nan, error)
            self._close_part(batch, str(error))
        elif self.breaker.is_closed and not batch.is_probe:
            self._split(batch)
        else:  # not the time to look for culprits
            self.queue.fail(batch.works, ModelUnavailableError(f"{self._name}: {error}"))
            self._close_part(batch, str(error))
        self.lanes.deal()

    def _split(self, batch: Batch) -> None:
        halves = batch.halves()
        self._again[:0] = [half for half in halves if half.live]
        for half in halves:
            if not half.live:
                self.queue.forget(half.works)
                self._close_part(half)

    def _desert(self, batch: Batch) -> None:
        """Nobody waits for a batch any more."""
        self.queue.forget(batch.works)
        if batch in self._again:
            self._again.remove(batch)
            self._close_part(batch)
        else:
            self.runner.cancel(batch)

    # Whether the model is asked

    def _close_part(self, batch: Batch, cause: str = "") -> None:
        """One part of an episode has ended; with the last there is a verdict on the model."""
        episode, now = batch.episode, asyncio.get_running_loop().time()
        episode.parts -= 1
        if episode.parts:
            return
        if episode.scored:
            self.breaker.succeed()
        elif episode.lost:
            self.breaker.lose(now, cause)
        elif episode.failed and batch.is_probe:
            self.breaker.open(now, cause)
        self._note_breaker()

    @property
    def _is_probing(self) -> bool:
        running = self.runner.running
        return self._probe is not None or any(b.is_probe and not b.stalled for b in running)

    def _note_breaker(self) -> None:
        """Acts on what the breaker has come to."""
        self._gauges.breaker(self.breaker.state)
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self.breaker.is_open:
            self._fail_waiting(ModelUnavailableError(self.closed_detail))
            loop = asyncio.get_running_loop()
            self._retry = loop.call_at(self.breaker.retry_at, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self.breaker.half_open()
        self._gauges.breaker(self.breaker.state)
        self.try_model()

    def _fail_waiting(self, failure: ModelUnavailableError) -> None:
        """Ends the requests that have anything that the model has not begun with."""
        again, self._again = self._again, []
        for batch in again:
            self.queue.fail(batch.works, failure)
        for request in list(self.queue.requests):
            if request.sub_requests or request.unread_tokens:
                self.queue.end(request, failure)

    # Bounds

    def _age(self, request: QueuedRequest) -> None:
        """Ends a request that the model has not begun with any pair of for too long."""
        loop = asyncio.get_running_loop()
        longest, now = self._config.queue_seconds, loop.time()
        if request.is_over:
            return
        due = request.advanced + longest
        if now >= due and request.sub_requests:
            self.queue.end(request, self._overloaded(f"it came to no pair within {longest:g} s"))
        else:
            next_look = due if now < due else now + longest
            request.ageing = loop.call_at(next_look, self._age, request)

    def _overloaded(self, what: str) -> OverloadedError:
        seconds = self.queue.announced_tokens * self.pace.seconds_per_token / self.width
        message = f"too much waits for {self._name}: {what}; send it again later"
        return OverloadedError(message, retry_seconds=max(0.01, seconds))
