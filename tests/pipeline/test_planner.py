"""Plans against a brute force over all splits, and worked examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import PlannerConfig
from sidecar.pipeline.planner import Work, split_time


class Steady:
    """A wait, then so many tokens a second."""

    def __init__(self, wait: float, rate: float) -> None:
        self.wait, self.rate = wait, rate

    def seconds_for(self, tokens: int) -> float:
        return self.wait + tokens / self.rate


def work(count: int, tokens: int = 100, wait: float = 0.0, rate: float = 10_000.0) -> Work:
    return Work([tokens] * count, Steady(wait, rate))


works = st.builds(
    lambda tokens, wait, rate: Work(tokens, Steady(wait, rate)),
    st.lists(st.integers(1, 300), min_size=1, max_size=40),
    st.floats(0.0, 0.1),
    st.floats(100.0, 100_000.0),
)


@given(works, st.floats(-0.1, 1.0))
def test_as_many_fit_as_counting_them_one_by_one_says(one: Work, seconds: float):
    counted = [n for n in range(1, len(one.tokens) + 1) if one.seconds(n) <= seconds]
    assert one.fitting(seconds) == max(counted, default=0)


@given(works, works, st.floats(-0.1, 1.0), st.floats(0.0, 0.9), st.integers(1, 8))
def test_a_plan_keeps_the_time_and_gives_away_nothing(
    first: Work, second: Work, seconds: float, share: float, fewest: int
):
    config = PlannerConfig(second_share=share, fewest_second=fewest)
    plan = split_time(first, second, seconds, config)
    used = first.seconds(plan.first) + second.seconds(plan.second)
    assert used <= max(seconds, 0.0) + 1e-9
    if plan.second == 0:
        assert plan.first == first.fitting(seconds)
    else:
        assert min(fewest, len(second.tokens)) <= plan.second <= plan.first
        one_more = min(plan.first, len(second.tokens)) > plan.second
        assert not one_more or used + second.seconds(plan.second + 1) > seconds - 1e-9
        kept = min(second.seconds(len(second.tokens)), share * seconds)
        assert plan.first == first.fitting(seconds - kept)


def test_both_in_full_where_the_time_suffices():
    plan = split_time(work(100), work(50), 1.5, PlannerConfig())
    assert (plan.first, plan.second) == (100, 50)
    assert plan.second_seconds == pytest.approx(0.5)


def test_half_of_a_short_time_is_kept_for_the_second():
    plan = split_time(work(100), work(50), 0.4, PlannerConfig(second_share=0.5))
    assert (plan.first, plan.second) == (20, 20)


def test_a_second_that_could_read_hardly_any_leaves_its_time_to_the_first():
    plan = split_time(work(100), work(50, wait=0.18), 0.4, PlannerConfig(fewest_second=4))
    assert (plan.first, plan.second) == (40, 0)


def test_a_stage_alone_gets_all_the_time():
    assert split_time(work(100), None, 0.4, PlannerConfig()).first == 40
    assert split_time(None, work(100), 0.4, PlannerConfig()).second == 40


def test_nothing_fits_a_deadline_that_has_passed():
    plan = split_time(work(3), work(3), -0.1, PlannerConfig())
    assert (plan.first, plan.second) == (0, 0)
