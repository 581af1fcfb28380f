"""Labels as candidates: whatever the log, nothing is said that users did not say."""

from __future__ import annotations

import numpy as np
import pytest
from click_logs import WEAK, a_world
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.clicks.log import ClickLog, click_log
from training.labels.candidates import by_query, candidates_of, mixed_gains, rates
from training.labels.from_clicks import LabelRules, label
from training.lists import ListCandidate, Source
from training.propensity.none import NoPropensity
from training.propensity.pbm import PositionBasedEM

RULES = LabelRules(least_impressions=1.0, half_life_days=None)


def candidates(log: ClickLog, least_gain: float = 0.0) -> dict[str, dict[str, ListCandidate]]:
    labels = label(log, NoPropensity().fit(log), RULES)
    found = by_query(candidates_of(labels, least_gain, 0.0), log)
    return {query: {one.doc_id: one for one in each} for query, each in found}


@settings(max_examples=60, deadline=None)
@given(
    clicks=st.integers(1, 8).flatmap(lambda rows: arrays(np.bool_, (rows, 4))),
    shift=st.integers(0, 3),
)
def test_only_what_was_clicked_or_passed_over(clicks: np.ndarray, shift: int) -> None:
    rows = len(clicks)
    documents = (np.arange(4) + shift * np.arange(rows)[:, None]) % 6
    log = click_log(
        np.arange(rows) % 2,
        documents,
        clicks=clicks,
        query_names=("a", "b"),
        document_names=tuple("uvwxyz"),
    )
    clicked, passed_over = set(), set()
    for row in range(rows):
        last = max(np.flatnonzero(clicks[row]), default=-1)
        for rank in range(4):
            pair = "ab"[row % 2], "uvwxyz"[documents[row, rank]]
            if clicks[row, rank]:
                clicked.add(pair)
            elif rank < last:
                passed_over.add(pair)
    found = {(q, d): one for q, each in candidates(log).items() for d, one in each.items()}
    assert set(found) == clicked | passed_over
    for pair, one in found.items():
        assert one.source is (Source.CLICKED if pair in clicked else Source.SKIPPED)
        assert 0 <= one.weight <= 1
        assert (0 < one.gain <= 1 and one.grade > 0) if pair in clicked else one.gain == 0


def test_few_clicks_of_many_looks_are_no_positive() -> None:
    clicks = np.zeros((40, 2), dtype=bool)
    clicks[:30, 1] = True
    clicks[0, 0] = True
    log = click_log(np.zeros(40), np.tile([0, 1], (40, 1)), clicks=clicks, query_names=("q",))
    assert set(candidates(log)["q"]) == {"0", "1"}
    assert set(candidates(log, least_gain=0.2)["q"]) == {"1"}


def test_the_best_of_a_log_are_worth_one() -> None:
    """Whatever users do after clicks: here nothing is known of that."""
    log = a_world("pbm", WEAK, sessions=5000, queries=50).log
    labels = label(log, PositionBasedEM().fit(log), RULES)
    gains = rates(labels)
    assert gains.max() == 1.0
    assert 0.005 < (gains[labels.clicks > 0] == 1.0).mean() < 0.03
    assert np.corrcoef(gains, labels.gains)[0, 1] > 0.98


@pytest.mark.parametrize("rows", [0, 3])
def test_a_log_without_clicks(rows: int) -> None:
    log = click_log(np.zeros(rows), np.tile([0, 1], (rows, 1)), query_names=("q",))
    assert candidates(log) == {}


def test_the_best_event_counts_until_the_rate_is_known() -> None:
    """Document 0 is clicked each time and no more; document 1 was ordered once."""
    for times, order in ((2, ["1", "0"]), (400, ["0", "1"])):
        clicks, orders = np.zeros((times, 2), dtype=bool), np.zeros((times, 2), dtype=bool)
        clicks[:, 0] = clicks[0, 1] = orders[0, 1] = True
        log = click_log(
            np.zeros(times),
            np.tile([0, 1], (times, 1)),
            clicks=clicks,
            orders=orders,
            query_names=("q",),
        )
        labels = label(log, NoPropensity().fit(log), RULES)
        ((_, found),) = by_query(candidates_of(labels), log)
        assert [one.doc_id for one in sorted(found, key=lambda one: -one.gain)] == order


def test_gains_by_hand() -> None:
    log = a_world("pbm", WEAK, sessions=2000, queries=20).log
    labels = label(log, PositionBasedEM().fit(log), RULES)
    share = labels.examinations / (labels.examinations + 10)
    worth = np.array([{1: 1, 2: 3, 3: 7, 4: 15}.get(grade, 0) / 15 for grade in labels.grades])
    expected = share * rates(labels) + (1 - share) * worth
    assert mixed_gains(labels, 10.0) == pytest.approx(expected)
    assert mixed_gains(labels, 0.0) == pytest.approx(rates(labels))


def test_ratings_are_gains() -> None:
    log = click_log(
        np.zeros(3),
        np.tile([0, 1, 2], (3, 1)),
        clicks=np.tile([True, False, False], (3, 1)),
        ratings=np.array([[1, 4, 0], [-1, -1, -1], [-1, 3, -1]]),
        query_names=("q",),
    )
    labels = label(log, NoPropensity().fit(log), RULES)
    ((_, found),) = by_query(candidates_of(labels), log)
    assert [(one.gain, one.grade, one.weight) for one in found] == [
        (0.25, 1, 1.0),
        (1.0, 4, 1.0),
        (0.0, 0, 1.0),
    ]
