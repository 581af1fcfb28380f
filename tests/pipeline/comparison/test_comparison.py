"""A canary against production: the figures, and when it has to go. Sound canaries stay."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from sidecar.config import GuardConfig
from sidecar.pipeline.comparison.comparison import Comparison

GUARD = GuardConfig()


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def compared(guard: GuardConfig = GUARD) -> tuple[Comparison, Clock]:
    clock = Clock()
    return Comparison(guard, clock, wall_clock=lambda: 1000.0), clock


def answer(
    comparison: Comparison, variant: str, count: int, failures: int = 0, seconds: float = 0.05
) -> None:
    for number in range(count):
        comparison.answered(variant, seconds, failed=number < failures)


def click(comparison: Comparison, canary: int, production: int) -> None:
    """So many sessions with a click on either's hit."""
    for number in range(canary + production):
        team = "canary" if number < canary else "production"
        comparison.clicked(f"s{number}", f"i{number}", team)


def test_nothing_is_known_at_first() -> None:
    comparison, _ = compared()
    assert comparison.statistics("canary") == (0, 0.0, 0.0, 0.0)
    assert comparison.preference() == (0, 0, 0, None, 0.0, 1.0, "")
    assert comparison.verdict() == ""


def test_statistics_are_those_of_the_answers() -> None:
    comparison, _ = compared()
    source = np.random.default_rng(1)
    times = source.lognormal(-3.0, 0.5, 3000)
    for number, seconds in enumerate(times):
        comparison.answered("production", seconds, failed=number % 10 == 0)
    seen = comparison.statistics("production")
    assert (seen.answers, seen.failure_share) == (3000, 0.1)
    assert seen.p50_seconds == pytest.approx(np.quantile(times, 0.5), rel=0.03)
    assert seen.p99_seconds == pytest.approx(np.quantile(times, 0.99), rel=0.03)
    assert comparison.statistics("canary").answers == 0


def test_times_are_shown_of_answers_of_the_same_kind() -> None:
    """Interleaved answers are slower, and a larger share of the canary's than of production's."""
    comparison, _ = compared()
    answer(comparison, "production", 900, seconds=0.1)
    for name in ("production", "canary"):
        for _ in range(100):
            comparison.answered(name, 0.2, failed=False, interleaved=True)
    shown = [comparison.statistics(name) for name in ("production", "canary")]
    assert [seen.answers for seen in shown] == [1000, 100]
    assert shown[0].p50_seconds == shown[1].p50_seconds == pytest.approx(0.2, rel=0.03)


def test_a_session_prefers_the_one_that_it_clicked_more() -> None:
    comparison, clock = compared()
    for session, teams in [
        ("a", ["canary", "canary", "production"]),
        ("b", ["production"]),
        ("c", ["production", "canary"]),
    ]:
        for number, team in enumerate(teams):
            comparison.clicked(session, f"{session}{number}", team)
    assert comparison.preference()[:3] == (0, 0, 0)  # they may go on clicking
    clock.now = GUARD.quiet_seconds
    seen = comparison.preference()
    assert (seen.canary_wins, seen.production_wins, seen.ties, seen.share) == (1, 1, 1, 0.5)
    assert seen.lower < 0.5 < seen.upper


def test_rankings_without_a_session_are_sessions_of_their_own() -> None:
    comparison, clock = compared()
    for impression_id in ("one", "two", "two"):
        comparison.clicked("", impression_id, "canary")
    clock.now = GUARD.quiet_seconds
    assert comparison.preference().canary_wins == 2


def test_clicks_on_rankings_of_an_earlier_canary_do_not_count() -> None:
    comparison, clock = compared()
    comparison.clicked("a", "i1", "production", answered=999.9)
    comparison.clicked("b", "i2", "canary", answered=1000.1)
    comparison.clicked("c", "i3", "")
    clock.now = GUARD.quiet_seconds
    assert comparison.preference()[:3] == (1, 0, 0)


@pytest.mark.parametrize(
    ("canary", "production", "winner"),
    [(5, 5, ""), (70, 50, ""), (300, 200, "canary"), (200, 300, "production"), (20, 0, "canary")],
)
def test_the_winner(canary: int, production: int, winner: str) -> None:
    comparison, clock = compared()
    click(comparison, canary, production)
    clock.now = GUARD.quiet_seconds
    seen = comparison.preference()
    assert seen.winner == winner
    assert seen.lower < canary / (canary + production) < seen.upper or 0 in (canary, production)


def test_equals_have_a_winner_in_no_more_than_five_percent_however_often_one_looks() -> None:
    """150 experiments of 400 sessions of one to four clicks, looked at after every session. The
    bound is 5 %, and four standard deviations for the draw."""
    source, wrong = random.Random(3), 0
    for _ in range(150):
        comparison, clock = compared()
        for session in range(400):
            for _ in range(source.randrange(1, 5)):
                team = source.choice(["canary", "production"])
                comparison.clicked(str(session), "", team)
            clock.now += GUARD.quiet_seconds
            if session >= 10 and comparison.preference().winner:
                wrong += 1
                break
    assert wrong / 150 <= 0.05 + 4 * (0.05 * 0.95 / 150) ** 0.5


def test_a_canary_that_is_less_preferred_goes() -> None:
    comparison, clock = compared()
    click(comparison, 200, 300)
    clock.now = GUARD.quiet_seconds
    assert "300 preferred production's rankings" in comparison.verdict()


def test_it_stays_where_that_is_not_wanted() -> None:
    comparison, clock = compared(dataclasses.replace(GUARD, interleaving=False))
    click(comparison, 200, 300)
    clock.now = GUARD.quiet_seconds
    assert comparison.verdict() == ""


@pytest.mark.parametrize(
    ("production", "canary", "goes"),
    [
        ((2000, 0), (300, 60), True),
        ((2000, 0), (199, 199), False),  # too few answers to conclude anything
        ((2000, 20), (2000, 20), False),
        ((2000, 20), (2000, 60), False),  # 1 and 3 %: within the margin
        ((2000, 20), (2000, 400), True),
        ((2000, 1900), (2000, 1900), False),
        ((0, 0), (300, 30), False),  # nothing to compare with
        ((0, 0), (300, 300), True),
    ],
)
def test_failures(production: tuple[int, int], canary: tuple[int, int], goes: bool) -> None:
    comparison, _ = compared()
    answer(comparison, "production", *production)
    answer(comparison, "canary", *canary)
    assert ("failed or were degraded" in comparison.verdict()) is goes
    assert bool(comparison.verdict()) is goes


def draw(comparison: Comparison, variant: str, count: int, scale: float, seed: int) -> None:
    for seconds in np.random.default_rng(seed).lognormal(-3.0, 0.5, count) * scale:
        comparison.answered(variant, seconds, failed=False)


@pytest.mark.parametrize(
    ("production", "canary", "scale", "goes"),
    [
        (5000, 500, 1.0, False),
        (5000, 500, 1.4, False),  # within the ratio
        (5000, 500, 3.0, True),
        (5000, 150, 30.0, False),  # too few answers to conclude anything
        (500, 500, 30.0, False),  # production's 99th percentile is not known yet
        (1500, 500, 30.0, True),
    ],
)
def test_times(production: int, canary: int, scale: float, goes: bool) -> None:
    comparison, _ = compared()
    draw(comparison, "production", production, 1.0, seed=1)
    draw(comparison, "canary", canary, scale, seed=2)
    assert ("99th percentile" in comparison.verdict()) is goes
    assert bool(comparison.verdict()) is goes


def test_times_do_not_matter_where_the_ratio_is_0() -> None:
    comparison, _ = compared(dataclasses.replace(GUARD, p99_ratio=0.0))
    draw(comparison, "production", 3000, 1.0, seed=1)
    draw(comparison, "canary", 500, 30.0, seed=2)
    assert comparison.verdict() == ""


def test_interleaved_answers_are_compared_with_interleaved_ones() -> None:
    comparison, _ = compared()
    answer(comparison, "production", 5000, seconds=0.05)
    for name in ("production", "canary"):
        for _ in range(1500):
            comparison.answered(name, 0.2, failed=False, interleaved=True)
    assert comparison.verdict() == ""


def test_a_canary_as_good_as_production_stays_however_often_one_looks() -> None:
    """60 canaries, looked at every 50 answers: comparing the measured percentiles would take most
    of them away, although the ratio is 1 here."""
    guard = dataclasses.replace(GUARD, p99_ratio=1.0, failure_margin=0.0)
    source = np.random.default_rng(5)
    taken = naive = 0
    for _ in range(60):
        comparison, _ = compared(guard)
        misled = False
        for _ in range(30):
            for name, count in (("production", 150), ("canary", 50)):
                times = source.lognormal(-3.0, 0.5, count)
                failures = source.random(count) < 0.02
                for seconds, failed in zip(times, failures, strict=True):
                    comparison.answered(name, seconds, failed)
            canary, production = map(comparison.statistics, ("canary", "production"))
            misled |= canary.p99_seconds > production.p99_seconds and canary.answers >= 200
            if comparison.verdict():
                taken += 1
                break
        naive += misled
    assert taken <= 2  # 1 % each for failures and for times is promised
    assert naive > 30
