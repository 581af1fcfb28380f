"""Shares of requests and callers, in a queue that is served one sub-request at a time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.models.base import Pair
from sidecar.rerank.fair_queue import FairQueue
from sidecar.rerank.work import PairWork, QueuedRequest, SubRequest
from sidecar.types import RequestClass

QUANTUM = 100


def request(queue: FairQueue, sizes: list[int], caller: str = "") -> QueuedRequest:
    """A request with one sub-request of each size."""
    made = QueuedRequest(RequestClass.INTERACTIVE, caller, deadline=0.0, entered=0.0)
    for size in sizes:
        sub = SubRequest(made)
        sub.works[PairWork(Pair((1,) * size, ()), None)] = None
        sub.tokens = size
        made.sub_requests[sub] = None
    queue.add(made)
    return made


def serve(queue: FairQueue) -> tuple[QueuedRequest, int] | None:
    """Serves the sub-request whose turn it is."""
    sub = next(queue.in_turn(), None)
    if sub is None:
        return None
    queue.charge({sub.request: sub.tokens})
    del sub.request.sub_requests[sub]
    if not sub.request.sub_requests:
        queue.discard(sub.request)
    return sub.request, sub.tokens


def order_of(queue: FairQueue) -> list[QueuedRequest]:
    order = []
    while (served := serve(queue)) is not None:
        order.append(served[0])
    return order


def test_a_small_request_is_behind_no_more_than_one_sub_request_of_a_large_one() -> None:
    queue = FairQueue()
    large = request(queue, [QUANTUM] * 50)
    assert serve(queue) == (large, QUANTUM)
    small = request(queue, [30])
    assert small in order_of(queue)[:2]


def test_a_large_request_gets_half_beside_a_stream_of_small_ones() -> None:
    queue = FairQueue()
    large = request(queue, [QUANTUM] * 200)
    served: Counter[QueuedRequest] = Counter()
    total = 0
    small = request(queue, [30])
    while total < 10_000:  # there is always a small one waiting
        turn, tokens = serve(queue) or (large, 0)
        served[turn] += tokens
        total += tokens
        if turn is small:
            small = request(queue, [30])
    assert served[large] == pytest.approx(total / 2, abs=2 * QUANTUM)


def test_a_caller_with_many_requests_gets_as_much_as_one_with_one() -> None:
    queue = FairQueue()
    for _ in range(20):
        request(queue, [QUANTUM] * 20, caller="greedy")
    modest = request(queue, [QUANTUM] * 20, caller="modest")
    first = order_of(queue)[:40]
    assert first.count(modest) in (19, 20)


def test_many_small_requests_of_a_caller_are_not_before_another_caller() -> None:
    queue = FairQueue()
    for _ in range(100):
        request(queue, [QUANTUM], caller="greedy")
    modest = request(queue, [QUANTUM] * 3, caller="modest")
    assert order_of(queue)[:6].count(modest) in (2, 3)


def test_who_was_alone_in_its_caller_s_share_after_others_left_is_not_held_back() -> None:
    queue = FairQueue()
    crowd = [request(queue, [QUANTUM] * 10, caller="crowd") for _ in range(30)]
    other = request(queue, [QUANTUM] * 30, caller="other")
    for leaving in crowd[1:]:
        queue.discard(leaving)
    first = order_of(queue)[:20]
    assert abs(first.count(crowd[0]) - first.count(other)) <= 1


def test_who_is_ahead_of_its_share_waits_however_small_its_next() -> None:
    queue = FairQueue()
    large = request(queue, [QUANTUM] * 5, caller="large")
    small = request(queue, [QUANTUM // 10] * 50, caller="small")
    assert order_of(queue)[:3] == [small, large, small]


def test_time_spent_elsewhere_gives_no_credit() -> None:
    queue = FairQueue()
    early = request(queue, [QUANTUM])
    for _ in range(30):
        request(queue, [QUANTUM])
    order_of(queue)
    for _ in range(5):  # it comes back, with the start of long ago
        sub = SubRequest(early)
        sub.tokens = QUANTUM
        early.sub_requests[sub] = None
    queue.add(early)
    fresh = request(queue, [QUANTUM] * 5)
    assert order_of(queue)[:6].count(fresh) == 3


SIZES = st.lists(st.integers(1, QUANTUM), min_size=1, max_size=12)


@given(st.lists(st.tuples(st.sampled_from("ab"), SIZES), min_size=1, max_size=6))
def test_all_is_served_once_in_the_order_of_each_request(
    requests: list[tuple[str, list[int]]],
) -> None:
    queue = FairQueue()
    made = [request(queue, sizes, caller) for caller, sizes in requests]
    served: dict[QueuedRequest, list[int]] = {one: [] for one in made}
    while (turn := serve(queue)) is not None:
        served[turn[0]].append(turn[1])
    assert list(served.values()) == [sizes for _, sizes in requests]


@given(
    st.lists(st.lists(st.integers(1, QUANTUM), min_size=60, max_size=60), min_size=2, max_size=5),
    st.lists(st.integers(0, 3), min_size=2, max_size=5),
)
def test_requests_that_wait_all_the_time_differ_by_two_sub_requests_at_most(
    sizes: list[list[int]], joins: list[int]
) -> None:
    """Callers with one request each: the bound of EEVDF, one quantum ahead or behind for each."""
    queue = FairQueue()
    made = [request(queue, one, caller=str(n)) for n, one in enumerate(sizes)]
    served: Counter[QueuedRequest] = Counter()
    for _ in range(50):
        turn, tokens = serve(queue) or (made[0], 0)
        served[turn] += tokens
        if not all(one.sub_requests for one in made):
            break
        amounts = [served[one] for one in made]
        assert max(amounts) - min(amounts) <= 2 * QUANTUM


@given(st.lists(st.tuples(st.sampled_from("abc"), SIZES), min_size=1, max_size=8))
def test_the_turns_that_are_listed_are_those_that_come(
    requests: list[tuple[str, list[int]]],
) -> None:
    """The first is the next to be served, and every sub-request is listed once."""
    queue = FairQueue()
    for caller, sizes in requests:
        request(queue, sizes, caller)
    while len(queue):
        listed = list(queue.in_turn())
        assert len(set(map(id, listed))) == len(listed)
        assert len(listed) == sum(len(one.sub_requests) for one in queue)
        turn = serve(queue)
        assert turn is not None
        assert turn[0] is listed[0].request
