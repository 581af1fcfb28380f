"""All that waits for one model: by class, in fair shares, each pair once for all who want it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from sidecar.errors import SidecarError
from sidecar.models.base import ScorablePair
from sidecar.rerank.batch_choice import Chosen, Limits, choose, is_late
from sidecar.rerank.fair_queue import FairQueue
from sidecar.rerank.work import Batch, PairWork, QueuedRequest, SubRequest
from sidecar.types import RequestClass

Wanted = tuple[ScorablePair, Hashable | None]  # equal keys are scored once; None is equal to none


class ModelQueue:
    """Requests from `enter` to `leave`, and their pairs from `submit` to `settle`.

    `pairs` and `tokens` count what is queued, each pair once.
    """

    def __init__(self) -> None:
        self.pairs = 0
        self.tokens = 0
        self.requests: dict[QueuedRequest, None] = {}
        self._classes = {request_class: FairQueue() for request_class in RequestClass}
        self._unsettled: dict[Hashable, PairWork] = {}

    @property
    def is_empty(self) -> bool:
        """Nobody is in it, and nothing of anybody."""
        waiting = any(len(queue) for queue in self._classes.values())
        return not (self.requests or self._unsettled or self.pairs or self.tokens or waiting)

    @property
    def announced_tokens(self) -> int:
        """Tokens that are queued or will be."""
        return self.tokens + sum(request.unread_tokens for request in self.requests)

    def best_class(self) -> RequestClass | None:
        """The first class in which something waits."""
        return next((one for one, queue in self._classes.items() if len(queue)), None)

    def virtual_time(self, request_class: RequestClass) -> float:
        """Of a class's fair queue."""
        return self._classes[request_class].virtual_time

    def enter(self, request: QueuedRequest) -> None:
        """A request, before its first pair."""
        self.requests[request] = None

    def submit(self, request: QueuedRequest, wanted: Sequence[Wanted]) -> None:
        """The pairs of its next sub-request, in rank order."""
        sub = SubRequest(request)
        for pair, key in wanted:
            self._want(sub, pair, key)
        if sub.works:
            request.sub_requests[sub] = None
            self._classes[request.request_class].add(request)

    def waiting_tokens(self, request_class: RequestClass) -> int:
        """Tokens queued in a class."""
        return sum(request.tokens for request in self._classes[request_class])

    def take(self, request_class: RequestClass, limits: Limits) -> list[PairWork]:
        """The pairs of the next batch, which leave the queue; something must wait.

        None of them, if the request whose turn it is would be late: it is ended instead.
        """
        queue = self._classes[request_class]
        in_turn = queue.in_turn()
        leader = next(in_turn)
        if is_late(leader, limits):
            self.end(leader.request, None)
            return []
        chosen = choose(leader, in_turn, limits)
        queue.charge(_tokens_by_request(chosen))
        works = [work for _, work in chosen]
        for work in works:
            self._unqueue(work, limits.now)
        return works

    def settle(self, work: PairWork, score: float, error: BaseException | None = None) -> None:
        """The outcome of a pair, for all who wait for it; NaN where the model failed on it."""
        self._forget(work)
        for sub, slot in work.waiters:
            sub.request.settle(slot, score, error)

    def fail(self, works: Iterable[PairWork], failure: SidecarError) -> None:
        """Pairs that will not be settled: ends the requests that wait for them."""
        for work in works:
            self._forget(work)
        requests = {sub.request: None for work in works for sub, _ in work.waiters}
        for request in requests:
            self.end(request, failure)

    def end(self, request: QueuedRequest, failure: SidecarError | None) -> None:
        """Drops what of a request is queued, and what it would submit yet; None: for want of time.

        With a failure it waits no more for what is being scored, either.
        """
        request.expired = request.expired or failure is None
        request.failure = request.failure or failure
        request.unread_tokens = 0
        for slot, work in enumerate(request.works):
            if work is not None and work.batch is None:
                self._give_up(request, slot, work)
        request.wake()

    def leave(self, request: QueuedRequest) -> list[Batch]:
        """Drops all of a request; the batches for which nobody waits any more."""
        self.requests.pop(request, None)
        deserted = []
        for slot, work in enumerate(request.works):
            if work is None:
                continue
            self._give_up(request, slot, work)
            if work.batch is not None and not work.waiters:
                work.batch.live -= 1
                if not work.batch.live:
                    deserted.append(work.batch)
        return deserted

    def forget(self, works: Iterable[PairWork]) -> None:
        """Pairs that will not be settled: nobody may join them any more."""
        for work in works:
            self._forget(work)

    def _want(self, sub: SubRequest, pair: ScorablePair, key: Hashable | None) -> None:
        work = self._unsettled.get(key) if key is not None else None
        if work is None:
            work = PairWork(pair, key)
            self.pairs += 1
            self.tokens += work.length
            if key is not None:
                self._unsettled[key] = work
        elif work.batch is not None and not work.waiters:
            work.batch.live += 1
        request = sub.request
        if work.batch is not None and request.began is None:
            request.began = request.entered  # others had asked for it before
        work.waiters.append((sub, len(request.scores)))
        request.scores.append(None)
        request.works.append(work)
        request.outstanding += 1
        if work.batch is None and work not in sub.works:
            sub.works[work] = None
            sub.tokens += work.length
            request.tokens += work.length

    def _unqueue(self, work: PairWork, now: float) -> None:
        """Takes a pair that is about to be scored from the sub-requests of all who wait for it."""
        self.pairs -= 1
        self.tokens -= work.length
        for sub, _ in work.waiters:
            self._remove(sub, work)
            request = sub.request
            request.advanced = now
            if request.began is None:
                request.began = now

    def _give_up(self, request: QueuedRequest, slot: int, work: PairWork) -> None:
        """One of those who wait for a pair does so no more."""
        request.works[slot] = None
        request.outstanding -= 1
        for sub, other in work.waiters:
            if sub.request is request and other == slot:
                work.waiters.remove((sub, other))
                break
        if work.batch is None:
            self._remove(sub, work)
        if work.batch is None and not work.waiters:
            self.pairs -= 1
            self.tokens -= work.length
            self._forget(work)

    def _remove(self, sub: SubRequest, work: PairWork) -> None:
        if work not in sub.works:
            return
        del sub.works[work]
        sub.tokens -= work.length
        request = sub.request
        request.tokens -= work.length
        if not sub.works:
            del request.sub_requests[sub]
            if not request.sub_requests:
                self._classes[request.request_class].discard(request)

    def _forget(self, work: PairWork) -> None:
        if work.key is not None and self._unsettled.get(work.key) is work:
            del self._unsettled[work.key]


def _tokens_by_request(chosen: Chosen) -> Counter[QueuedRequest]:
    served: Counter[QueuedRequest] = Counter()
    for sub, work in chosen:
        served[sub.request] += work.length
    return served
