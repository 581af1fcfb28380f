"""From the queues of a model and of those that share its lanes to the forecast of this moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sidecar.rerank.batcher import SMALLEST_SHARE, Batcher
from sidecar.rerank.forecast import Forecast, Rivals
from sidecar.rerank.work import Batch, QueuedRequest
from sidecar.types import RequestClass


def forecast(batcher: Batcher, request_class: RequestClass, caller: str, now: float) -> Forecast:
    """What a new request of this class and caller may expect of the model at `now`."""
    if batcher.closed_detail:
        return Forecast(False, batcher.closed_detail)
    neighbours = [one for one in batcher.lanes.contenders if isinstance(one, Batcher)]
    ahead = sum(_ahead_seconds(one, batcher, request_class, now) for one in neighbours)
    requests, callers = _rivals(batcher, request_class, caller)
    least = batcher.feed.batch_tokens // (SMALLEST_SHARE if batcher.feed.shares_cores else 1)
    return Forecast(
        available=True,
        seconds_per_token=batcher.pace.seconds_per_token,
        lanes=batcher.width,
        ahead_seconds=ahead,
        first_free_seconds=_first_free_seconds(batcher, neighbours, now),
        indivisible_tokens=least,
        requests=requests,
        callers=callers,
    )


def _remaining(batch: Batch, now: float) -> float:
    """Seconds; a batch that is late is as late again (of times without a scale: Lindy's law)."""
    return abs(batch.started + batch.expected - now)


def _ahead_seconds(one: Batcher, mine: Batcher, request_class: RequestClass, now: float) -> float:
    """Of all lanes: what runs of a model, and what waits for it and comes before mine."""

    def is_ahead(request: QueuedRequest) -> bool:
        earlier_stage = one is not mine and one.stage <= mine.stage
        return (request.request_class, not earlier_stage) < (request_class, True)

    slots, running = one.lanes.slots, one.runner.running
    runs = sum(_remaining(batch, now) * batch.slots / slots for batch in running)
    tokens = sum(_tokens(request) for request in one.queue.requests if is_ahead(request))
    return runs + tokens * one.pace.seconds_per_token / one.width


def _first_free_seconds(mine: Batcher, neighbours: Sequence[Batcher], now: float) -> float:
    """When the slots, and the model's own place, are free for one more batch."""
    own = sorted(_remaining(batch, now) for batch in mine.runner.running if batch.slots)
    place = own[0] if len(own) >= mine.feed.side_by_side else 0.0
    running = [batch for one in neighbours for batch in one.runner.running]
    free, wanted = mine.lanes.free, mine.lanes.slots_of_batch(mine.feed.side_by_side)
    for seconds, slots in sorted((_remaining(batch, now), batch.slots) for batch in running):
        if free >= wanted:
            break
        free += slots
        place = max(place, seconds)
    return place


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
