"""The breaker's states, by a clock of its own."""

from __future__ import annotations

from sidecar.rerank.breaker import (
    FIRST_BACK_OFF_SECONDS,
    LONGEST_BACK_OFF_SECONDS,
    LOSSES_TO_OPEN,
    Breaker,
    BreakerState,
)


def test_it_opens_after_losses_in_a_row_only() -> None:
    breaker = Breaker()
    for _ in range(3):
        for _ in range(LOSSES_TO_OPEN - 1):
            breaker.lose(0.0, "refused")
        assert breaker.is_closed
        breaker.succeed()
    for _ in range(LOSSES_TO_OPEN):
        breaker.lose(7.0, "refused")
    assert breaker.is_open
    assert breaker.cause == "refused"
    assert breaker.retry_at == 7.0 + FIRST_BACK_OFF_SECONDS


def test_the_back_off_doubles_up_to_a_limit_and_starts_again_after_a_success() -> None:
    breaker, now, waits = Breaker(), 0.0, []
    breaker.open(now, "stalled")
    for _ in range(9):
        waits.append(breaker.retry_at - now)
        now = breaker.retry_at
        breaker.half_open()
        breaker.lose(now, "still")
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert waits[-1] == LONGEST_BACK_OFF_SECONDS
    breaker.half_open()
    breaker.succeed()
    breaker.open(now, "again")
    assert breaker.retry_at == now + FIRST_BACK_OFF_SECONDS


def test_what_happens_while_it_is_open_does_not_put_the_probe_off() -> None:
    breaker = Breaker()
    breaker.open(0.0, "first")
    breaker.open(0.4, "second")
    breaker.lose(0.4, "third")
    assert (breaker.retry_at, breaker.cause) == (FIRST_BACK_OFF_SECONDS, "first")
    assert breaker.state is BreakerState.OPEN
