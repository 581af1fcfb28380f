"""From the queues of a model and of those that share its lanes to the forecast of this moment."""

from __future__ import annotations

from collections import Counter

from sidecar.rerank.batcher import SMALLEST_SHARE, Batcher
from sidecar.rerank.forecast import Forecast, Rivals
from sidecar.rerank.work import Batch, QueuedRequest
from sidecar.types import RequestClass


def forecast(batcher: Batcher, request_class: RequestClass, caller: str, now: float) -> Forecast:
    """What a new request of this class and caller may expect of the model at `now`."""
    if batcher.closed_detail:
        return Forecast(False, batcher.closed_detail)
    neighbours = [one for one in batcher.lanes.contenders if isinstance(one, Batcher)]
    busy = [_remaining(batch, now) for one in neighbours for batch in one.runner.running]
    ahead = sum(_ahead_seconds(one, batcher, request_class) for one in neighbours)
    requests, callers = _rivals(batcher, request_class, caller)
    least = batcher.feed.batch_tokens // (SMALLEST_SHARE if batcher.feed.shares_cores else 1)
    return Forecast(
        available=True,
        seconds_per_token=batcher.pace.seconds_per_token,
        lanes=batcher.width,
        ahead_seconds=sum(busy) + ahead,
        first_free_seconds=min(busy, default=0.0) if batcher.lanes.free <= 0 else 0.0,
        indivisible_tokens=least,
        requests=requests,
        callers=callers,
    )


def _remaining(batch: Batch, now: float) -> float:
    """Seconds; a batch that is late is as late again (of times without a scale: Lindy's law)."""
    return abs(batch.started + batch.expected - now) if batch.holds_slot else 0.0


def _ahead_seconds(one: Batcher, mine: Batcher, request_class: RequestClass) -> float:
    """What waits for one of the models and comes before anything of this class of mine."""

    def is_ahead(request: QueuedRequest) -> bool:
        earlier_stage = one is not mine and one.stage <= mine.stage
        return (request.request_class, not earlier_stage) < (request_class, True)

    tokens = sum(_tokens(request) for request in one.queue.requests if is_ahead(request))
    return tokens * one.pace.seconds_per_token


def _rivals(batcher: Batcher, request_class: RequestClass, caller: str) -> tuple[Rivals, Rivals]:
    own: list[float] = []
    others: Counter[str] = Counter()
    for request in batcher.queue.requests:
        if request.request_class is not request_class:
            continue
        if request.caller == caller:
            own.append(_tokens(request))
        else:
            others[request.caller] += _tokens(request)
    return Rivals.of(own), Rivals.of(others.values())


def _tokens(request: QueuedRequest) -> int:
    return request.tokens + request.unread_tokens
