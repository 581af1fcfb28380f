"""Binned durations against sorted lists."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.pipeline.comparison.durations import GROWTH, Durations

TIMES = st.lists(st.floats(1e-4, 100.0), min_size=1, max_size=200)


def durations(times: list[float]) -> Durations:
    made = Durations()
    for seconds in times:
        made.add(seconds)
    return made


@given(TIMES, st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_quantiles_are_those_of_the_list_rounded_up_by_two_percent(
    times: list[float], share: float
) -> None:
    exact = sorted(times)[math.ceil(share * len(times)) - 1]
    assert exact <= durations(times).quantile(share) <= exact * GROWTH * (1 + 1e-9)


@given(TIMES, st.floats(1e-4, 100.0))
def test_what_is_counted_above_is_above_and_little_is_left_out(
    times: list[float], limit: float
) -> None:
    above = durations(times).count_above(limit)
    assert above <= sum(seconds > limit for seconds in times)
    assert above >= sum(seconds > limit * GROWTH * (1 + 1e-9) for seconds in times)


@given(TIMES)
def test_edges_from_the_longest_down(times: list[float]) -> None:
    edges = list(durations(times).longest_first())
    assert [edge for edge, _ in edges] == sorted({edge for edge, _ in edges}, reverse=True)
    assert all(above == sum(seconds > edge for seconds in times) for edge, above in edges)


def test_without_any() -> None:
    none = Durations()
    assert (none.count, none.quantile(0.5), none.count_above(0.0)) == (0, 0.0, 0)
    assert list(none.longest_first()) == []


@pytest.mark.parametrize("seconds", [0.0, -1e-9, 1e9])
def test_what_is_out_of_range_is_counted_at_its_end(seconds: float) -> None:
    made = durations([seconds])
    assert made.count == 1
    assert made.quantile(0.5) > 0.0
