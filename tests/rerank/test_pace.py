"""Running quantiles against a sort of everything; what texts teach."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.rerank.pace import (
    FEWEST_BATCHES,
    FIRST_GUESS_SECONDS_PER_TOKEN,
    WINDOW_BATCHES,
    WINDOW_SECONDS,
    Pace,
    RunningQuantiles,
    TextRates,
)

BATCHES = st.lists(st.tuples(st.floats(1e-5, 10.0), st.integers(1, 4096)), min_size=1, max_size=600)


def brute_force(batches: list[tuple[float, int]], quantile: float) -> float:
    """The least pace within which so large a share of all tokens lies, token by token."""
    ordered = sorted((seconds / tokens, tokens) for seconds, tokens in batches)
    wanted = quantile * sum(tokens for _, tokens in ordered)
    reached = 0
    for pace, tokens in ordered:
        reached += tokens
        if reached >= wanted:
            return pace
    raise AssertionError


@given(BATCHES, st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
def test_quantiles_are_those_of_the_window(
    batches: list[tuple[float, int]], quantile: float
) -> None:
    running = RunningQuantiles()
    for number, (seconds, tokens) in enumerate(batches):
        running.observe(number * 0.01, seconds, tokens)
    assert len(running) == min(len(batches), WINDOW_BATCHES)
    assert running.at(quantile) == brute_force(batches[-WINDOW_BATCHES:], quantile)


def test_old_batches_leave_as_long_as_some_remain() -> None:
    running = RunningQuantiles()
    for _ in range(100):
        running.observe(0.0, seconds=1.0, tokens=1)
    running.observe(WINDOW_SECONDS + 1.0, seconds=0.1, tokens=1)
    assert len(running) == FEWEST_BATCHES
    for number in range(FEWEST_BATCHES):
        running.observe(2 * WINDOW_SECONDS + number, seconds=0.1, tokens=1)
    assert running.at(1.0) == pytest.approx(0.1)


def test_plans_include_the_padding() -> None:
    pace = Pace(plan_quantile=0.75)
    assert pace.seconds_per_token == FIRST_GUESS_SECONDS_PER_TOKEN
    for seconds in (1.0, 2.0, 3.0, 4.0):
        pace.observe_batch(0.0, seconds, real=80, padded=100)
    assert pace.seconds_per_padded_token == pytest.approx(0.02)
    assert pace.seconds_per_token == pytest.approx(0.03 * 100 / 80)


def test_texts_teach_what_the_next_will_cost() -> None:
    rates = TextRates()
    assert rates.tokens_per_character == pytest.approx(0.25)
    for _ in range(50):
        rates.observe_texts(passages=20, characters=20 * 200, tokens=20 * 103)
        rates.observe_pairs(candidates=20, tokens=20 * 64)
    assert rates.tokens_per_character == pytest.approx(0.5, rel=0.01)
    assert rates.pair_tokens == pytest.approx(64, rel=0.01)
    for _ in range(500):  # another language comes
        rates.observe_texts(passages=20, characters=20 * 100, tokens=20 * 103)
    assert rates.tokens_per_character == pytest.approx(1.0, rel=0.01)
