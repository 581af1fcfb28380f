"""What a session preferred, and when it counts."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.pipeline.comparison import session_credits
from sidecar.pipeline.comparison.session_credits import SessionCredits


def outcome(credits: SessionCredits) -> tuple[int, int, int]:
    return credits.wins, credits.losses, credits.ties


def test_a_session_counts_when_it_is_quiet_by_the_sum_of_its_clicks() -> None:
    credits = SessionCredits(60.0)
    for session, points in [("a", 1), ("b", 1), ("a", -1), ("b", -1), ("b", -1), ("c", 1)]:
        credits.credit(session, points, now=10.0)
    credits.settle(now=69.9)
    assert outcome(credits) == (0, 0, 0)
    credits.settle(now=70.0)
    assert outcome(credits) == (1, 1, 1)


def test_each_click_keeps_its_session_open() -> None:
    credits = SessionCredits(60.0)
    for now in (0.0, 50.0, 100.0, 150.0):
        credits.credit("a", 1, now)
        assert outcome(credits) == (0, 0, 0)
    credits.credit("b", 1, 210.0)
    assert outcome(credits) == (1, 0, 0)


def test_what_has_counted_does_not_change() -> None:
    credits = SessionCredits(60.0)
    credits.credit("a", 1, 0.0)
    credits.credit("a", -1, 100.0)
    credits.credit("a", -1, 101.0)
    credits.settle(1000.0)
    assert outcome(credits) == (1, 0, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from([1, -1]), st.integers(0, 40)),
        max_size=60,
    )
)
def test_against_the_whole_history(clicks: list[tuple[str, int, int]]) -> None:
    credits, now = SessionCredits(60.0), 0.0
    history: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for session, points, pause in clicks:
        now += pause
        credits.credit(session, points, now)
        history[session].append((now, points))
    credits.settle(now + 60.0)
    expected: Counter[int] = Counter()
    for one in history.values():
        total, last = 0, one[0][0]
        for at, points in one:
            if at - last >= 60.0:
                break
            total, last = total + points, at
        expected[(total > 0) - (total < 0)] += 1
    assert outcome(credits) == (expected[1], expected[-1], expected[0])


def test_no_more_sessions_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_credits, "MOST_SESSIONS", 3)
    credits = SessionCredits(60.0)
    for session in "abcdeabcab":
        credits.credit(session, 1 if session != "c" else -1, 0.0)
    credits.settle(60.0)
    credits.credit("f", 1, 61.0)
    credits.settle(1000.0)
    assert outcome(credits) == (2, 1, 0)
