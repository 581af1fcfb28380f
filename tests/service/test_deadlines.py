"""How much of a caller's deadline a ranking may take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.config import ServerConfig
from sidecar.errors import DeadlineError
from sidecar.service.deadlines import REPLY_SECONDS, Deadlines
from sidecar.service.loop_lag import SAMPLES, LoopLag

CONFIG = ServerConfig(default_timeout_seconds=7.0, reply_margin_seconds=0.01)


class Call:
    """A call with so much time left."""

    def __init__(self, remaining: float | None) -> None:
        self._remaining = remaining

    def time_remaining(self) -> float | None:
        return self._remaining


def left(remaining: float | None, late: float = 0.0, seconds: float | None = None) -> float:
    lag, call = LoopLag(), Call(remaining)
    lag.observe(late)
    context: Any = call
    return Deadlines(CONFIG, lag).of(context, seconds).remaining()


@pytest.mark.parametrize(
    ("remaining", "late", "seconds", "expected"),
    [
        (None, 0.0, None, 7.0),
        (None, 0.5, 3.0, 3.0),
        (0.12, 0.0, None, 0.11),
        (0.12, 0.02, None, 0.09),
        (0.12, 9.0, None, 0.08),  # a late machine keeps back a quarter at most
        (5.0, 0.0, 2.0, 2.0),
        (1.0, 0.0, 2.0, 0.99),
    ],
)
def test_the_margin_grows_with_the_lateness_of_the_machine(
    remaining: float | None, late: float, seconds: float | None, expected: float
) -> None:
    assert left(remaining, late, seconds) == pytest.approx(expected, abs=0.005)


def test_answers_that_may_fall_due_together_are_allowed_for() -> None:
    context: Any = Call(1.0)
    crowded = Deadlines(CONFIG, LoopLag(), lambda: 101).of(context).remaining()
    assert crowded == pytest.approx(0.99 - 100 * REPLY_SECONDS, abs=0.005)


@pytest.mark.parametrize("remaining", [0.01, 0.0, -1.0])
def test_a_deadline_within_the_margin_is_over(remaining: float) -> None:
    with pytest.raises(DeadlineError):
        left(remaining)


def test_the_lag_is_a_high_quantile_of_the_last_samples() -> None:
    lag = LoopLag()
    assert lag.seconds == 0.0
    for number in range(100):
        lag.observe(number / 1000)
    assert lag.seconds == pytest.approx(0.098)
    for _ in range(SAMPLES):
        lag.observe(0.001)
    assert lag.seconds == 0.001


async def test_a_loop_that_is_held_up_is_seen() -> None:
    lag, held_seconds = LoopLag(), 0.05
    watching = asyncio.create_task(lag.watch())
    loop = asyncio.get_running_loop()
    while not lag._late:  # the first sample
        await asyncio.sleep(0)
    end = loop.time() + held_seconds
    while loop.time() < end:  # nothing else runs on the loop
        pass
    before = len(lag._late)
    while len(lag._late) == before:
        await asyncio.sleep(0)
    watching.cancel()
    assert lag._late[-1] >= held_seconds / 2
