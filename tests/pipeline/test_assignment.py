"""Routes of sessions: stable, of the right shares, drawn anew for each experiment."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.pipeline.assignment import NO_CANARY, Route, Shares, route_of

SESSIONS = [f"session-{number}" for number in range(20_000)]


def test_the_shares_are_kept() -> None:
    routes = Counter(route_of(session, Shares(0.1, 0.25, "a")) for session in SESSIONS)
    n = len(SESSIONS)
    for route, share in (
        (Route.CANARY, 0.1),
        (Route.INTERLEAVED, 0.25),
        (Route.PRODUCTION, 0.65),
    ):
        assert abs(routes[route] - share * n) < 4 * (n * share * (1 - share)) ** 0.5


@given(st.text(min_size=1), st.text())
def test_a_session_stays_with_its_route(session: str, salt: str) -> None:
    shares = Shares(0.3, 0.3, salt)
    assert route_of(session, shares) is route_of(session, shares)


def test_another_process_draws_the_same() -> None:
    program = (
        "from sidecar.pipeline.assignment import *\n"
        "print([route_of(f'session-{n}', Shares(.3, .3, 'x')).name for n in range(50)])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    here = [route_of(session, Shares(0.3, 0.3, "x")).name for session in SESSIONS[:50]]
    assert printed.strip() == str(here)


def test_another_experiment_has_other_sessions() -> None:
    one = {s for s in SESSIONS if route_of(s, Shares(0.5, salt="one")) is Route.CANARY}
    two = {s for s in SESSIONS if route_of(s, Shares(0.5, salt="two")) is Route.CANARY}
    n = len(SESSIONS)
    assert abs(len(one & two) - 0.25 * n) < 4 * (n * 0.25 * 0.75) ** 0.5


def test_a_larger_canary_keeps_the_sessions_that_it_has() -> None:
    small, large = Shares(0.05, salt="s"), Shares(0.3, salt="s")
    chosen = [s for s in SESSIONS if route_of(s, small) is Route.CANARY]
    assert chosen
    assert all(route_of(session, large) is Route.CANARY for session in chosen)


@pytest.mark.parametrize(
    ("shares", "route"),
    [
        (NO_CANARY, Route.PRODUCTION),
        (Shares(canary=1.0), Route.CANARY),
        (Shares(interleaved=1.0), Route.INTERLEAVED),
    ],
)
def test_none_and_all(shares: Shares, route: Route) -> None:
    assert {route_of(session, shares) for session in ["", *SESSIONS[:1000]]} == {route}


def test_requests_without_a_session_are_sessions_of_their_own() -> None:
    routes = Counter(route_of("", Shares(0.5)) for _ in range(2000))
    assert abs(routes[Route.CANARY] - 1000) < 4 * 2000**0.5 / 2


@given(st.text(min_size=64, max_size=200))
def test_a_long_salt_is_cut_not_refused(salt: str) -> None:
    assert route_of("s", Shares(0.5, salt=salt)) in Route
