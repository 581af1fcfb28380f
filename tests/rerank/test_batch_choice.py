"""Which pairs make a batch: budget, like lengths, deadlines, order."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.models.base import Pair
from sidecar.rerank.batch_choice import (
    LIKE_LENGTH,
    LIKE_LENGTH_TOKENS,
    Limits,
    choose,
    is_late,
)
from sidecar.rerank.work import PairWork, QueuedRequest, SubRequest
from sidecar.types import RequestClass

LENGTHS = st.lists(st.lists(st.integers(3, 512), min_size=1, max_size=16), min_size=1, max_size=8)


def sub_requests(lengths: list[list[int]], deadline: float = math.inf) -> list[SubRequest]:
    made = []
    for one in lengths:
        sub = SubRequest(QueuedRequest(RequestClass.INTERACTIVE, "", deadline, 0.0))
        for length in one:
            sub.works[PairWork(Pair((1,) * length, ()), None)] = None
        sub.tokens = sum(one)
        made.append(sub)
    return made


def limits(tokens: int, pads: bool = True, now: float = 0.0) -> Limits:
    return Limits(tokens, pads, now, seconds_per_token=0.001)


def chosen_lengths(subs: list[SubRequest], bounds: Limits) -> list[int]:
    return [work.length for _, work in choose(subs[0], iter(subs[1:]), bounds)]


@given(LENGTHS, st.integers(1, 2048))
def test_a_padded_batch_keeps_to_its_budget_and_to_like_lengths(
    lengths: list[list[int]], budget: int
) -> None:
    subs = sub_requests(lengths)
    chosen = choose(subs[0], iter(subs[1:]), limits(budget))
    works = [work for _, work in chosen]
    assert len(set(works)) == len(works) >= 1
    assert all(work in sub.works for sub, work in chosen)
    longest = max(work.length for work in works)
    assert longest == max(lengths[0])
    assert len(works) == 1 or longest * len(works) <= budget
    least = min(LIKE_LENGTH * longest, longest - LIKE_LENGTH_TOKENS)
    assert all(work.length >= least for work in works)


@given(LENGTHS, st.integers(1, 2048))
def test_a_padded_batch_with_room_has_left_nothing_alike_behind(
    lengths: list[list[int]], budget: int
) -> None:
    subs = sub_requests(lengths)
    works = [work for _, work in choose(subs[0], iter(subs[1:]), limits(budget))]
    longest = works[0].length
    if longest * (len(works) + 1) <= budget:
        least = min(LIKE_LENGTH * longest, longest - LIKE_LENGTH_TOKENS)
        left = [work for sub in subs for work in sub.works if work not in works]
        assert not [work for work in left if least <= work.length <= longest]


@given(LENGTHS, st.integers(1, 2048))
def test_without_padding_all_are_taken_in_turn(lengths: list[list[int]], budget: int) -> None:
    flat = [length for one in lengths for length in one]
    taken = chosen_lengths(sub_requests(lengths), limits(budget, pads=False))
    assert taken == flat[: len(taken)]
    assert len(taken) == 1 or sum(taken) <= budget
    assert len(taken) == len(flat) or sum(flat[: len(taken) + 1]) > budget


@pytest.mark.parametrize(
    ("lengths", "budget", "expected"),
    [
        ([[40, 100, 90, 20]], 1000, [100, 90]),
        ([[40, 100, 90, 20], [85, 300, 96]], 1000, [100, 90, 96, 85]),
        ([[40, 100, 90, 20], [85, 300, 96]], 300, [100, 90, 96]),
        ([[10, 12, 4, 3]], 1000, [12, 10, 4]),
        ([[900]], 512, [900]),
    ],
)
def test_worked_batches(lengths: list[list[int]], budget: int, expected: list[int]) -> None:
    assert chosen_lengths(sub_requests(lengths), limits(budget)) == expected


def test_with_little_time_the_best_ranked_are_taken() -> None:
    """0.2 s are left, at a token a millisecond: 200 tokens, padding included."""
    subs = sub_requests([[60, 50, 100, 90]], deadline=1.2)
    assert chosen_lengths(subs, limits(1000, now=1.0)) == [60, 50]
    subs = sub_requests([[60, 50, 80, 90]], deadline=1.2)
    assert chosen_lengths(subs, limits(1000, pads=False, now=1.0)) == [60, 50, 80]


def test_who_cannot_wait_for_the_whole_batch_does_not_follow() -> None:
    leader, hurried, patient = sub_requests([[100], [100], [99]])
    hurried.request.deadline, patient.request.deadline = 0.3, 2.0
    chosen = choose(leader, iter([hurried, patient]), limits(1000))
    assert [work.length for _, work in chosen] == [100, 99]


def test_a_pair_that_two_wait_for_is_taken_once() -> None:
    first, second = sub_requests([[50], [50]])
    shared = next(iter(first.works))
    second.works = {shared: None}
    for pads in (True, False):
        chosen = choose(first, iter([second]), limits(1000, pads))
        assert chosen == [(first, shared)]  # at whose turn it was


def test_late_is_who_has_no_time_for_its_best_ranked_pair() -> None:
    (sub,) = sub_requests([[60, 50]], deadline=1.0601)
    assert not is_late(sub, limits(1000, now=1.0))
    assert is_late(sub, limits(1000, now=1.001))


@pytest.mark.parametrize(
    ("deadline", "taken"),
    [(math.inf, [50, 50, 50, 50]), (0.31, [50, 50, 50, 50]), (0.29, [50, 50])],
)
def test_with_little_time_a_list_is_read_from_the_top_down(
    deadline: float, taken: list[int]
) -> None:
    """Of 150 tokens of one request, twice the time that a lane takes is 0.3 s."""
    leader, *others = sub_requests([[50], [50], [50], [50]], deadline)
    for sub in others:
        sub.request = leader.request
    leader.request.tokens = 150
    chosen = choose(leader, iter(others), limits(1000))
    assert [work.length for _, work in chosen] == taken
