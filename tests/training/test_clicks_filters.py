"""What is left out of a log, by reason."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from training.clicks.bots import asks_too_fast, clicks_too_much
from training.clicks.filters import Filters
from training.clicks.log import ClickLog, click_log

NOON = 1.8e9


def a_log(sessions: list[int], times: list[float], clicked: float = 0.0) -> ClickLog:
    """Ten documents each time, the first of them clicked as often as `clicked` says."""
    rows = len(sessions)
    return click_log(
        np.zeros(rows),
        np.tile(np.arange(10), (rows, 1)),
        clicks=np.tile(np.arange(10) < round(10 * clicked), (rows, 1)),
        sessions=np.array(sessions),
        times=NOON + np.array(times),
        query_names=("shoes",),
    )


def test_more_than_so_many_within_a_minute() -> None:
    fast = a_log([1] * 4 + [2] * 4 + [3] * 3, [*range(4), 0, 30, 59, 61, 0, 1, 2])
    assert asks_too_fast(fast, 3).tolist() == [True] * 4 + [False] * 7
    assert asks_too_fast(fast, 2).tolist() == [True] * 11
    assert not asks_too_fast(fast, 0).any()
    assert not asks_too_fast(fast, 100).any()


def test_the_order_of_the_log_does_not_matter() -> None:
    source = np.random.default_rng(0)
    sessions, times = source.integers(20, size=600), source.uniform(0, 900, size=600)
    log = a_log(sessions.tolist(), times.tolist())
    by_hand = {
        session
        for session in range(20)
        for at in times[sessions == session]
        if np.sum((times[sessions == session] >= at) & (times[sessions == session] < at + 60)) > 4
    }
    assert by_hand  # some are, some are not
    assert len(by_hand) < 20
    assert set(sessions[asks_too_fast(log, 4)]) == by_hand


def test_impressions_without_a_time_are_not_fast() -> None:
    log = a_log([1] * 50, [-NOON] * 50)
    assert not asks_too_fast(log, 3).any()


def test_clicks_on_nearly_all() -> None:
    greedy, normal = a_log([1] * 10, [0.0] * 10, 1.0), a_log([1] * 10, [0.0] * 10, 0.9)
    assert clicks_too_much(greedy, 0.9).all()
    assert not clicks_too_much(normal, 0.9).any()
    assert not clicks_too_much(a_log([1] * 9, [0.0] * 9, 1.0), 0.9).any()
    assert not clicks_too_much(greedy, 0.0).any()


def test_every_reason_is_counted_once() -> None:
    names = ("shoes", " ", "x" * 60, "mail to ann@example.org", "boots")
    documents = np.array([[0, 1]] * 5 + [[-1, -1]])
    log = click_log(
        np.array([0, 1, 2, 3, 4, 3]), documents, query_names=names, document_names=("a", "b")
    )
    left_out: Counter[str] = Counter()
    kept = Filters(most_query_characters=50).apply(log, left_out)
    assert [names[code] for code in kept.queries] == ["shoes", "boots"]
    assert +left_out == {
        "nothing was shown": 1,
        "an empty query": 1,
        "a query of more than 50 characters": 1,
        "personal data in the query: e-mail": 1,
    }


def test_bots_are_counted() -> None:
    left_out: Counter[str] = Counter()
    log = a_log([1] * 40, [float(at) for at in range(40)])
    assert Filters().apply(log, left_out).impressions == 0
    assert left_out["bot: asks too fast"] == 40
    slow = a_log([1] * 12, [100.0 * at for at in range(12)], 1.0)
    assert Filters().apply(slow, left_out).impressions == 0
    assert left_out["bot: clicks nearly all"] == 12


@pytest.mark.parametrize("off", [{"drop_personal": False}, {"most_query_characters": 0}])
def test_filters_can_be_switched_off(off: dict[str, int]) -> None:
    query = "ann@example.org" if "drop_personal" in off else "x" * 1000
    assert Filters().why_not(query)
    assert not Filters(**off).why_not(query)
    assert query not in Filters().why_not(query)
