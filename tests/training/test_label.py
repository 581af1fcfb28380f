"""Labels: what each event says, what is never held against a document, and the figures by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from click_logs import WEAK, a_world

from training.clicks.log import ClickLog, click_log
from training.labels.from_clicks import (
    DAY_SECONDS,
    Grade,
    LabelRules,
    Labels,
    impression_grades,
    label,
    learnt_strength,
)
from training.propensity.base import PositionModel, Relevances, position_model
from training.propensity.none import NoPropensity

PLAIN = LabelRules(least_impressions=0.0, half_life_days=None, prior_examinations=2.0)


def a_log(clicks: list[list[int]], **columns: Any) -> ClickLog:
    """Query 0, documents 0, 1, 2 ... in that order each time."""
    shape = np.array(clicks).shape
    documents = np.tile(np.arange(shape[1]), (shape[0], 1))
    given = {name: np.array(values) for name, values in columns.items()}
    return click_log(np.zeros(shape[0]), documents, clicks=np.array(clicks), **given)


def labels_of(log: ClickLog, rules: LabelRules = PLAIN) -> Labels:
    return label(log, NoPropensity().fit(log), rules)


def test_what_each_event_says() -> None:
    log = a_log(
        [[1, 1, 1, 1, 1, 0]],
        orders=[[1, 0, 0, 0, 0, 0]],
        carts=[[1, 1, 0, 0, 0, 0]],
        dwell_seconds=[[np.nan, np.nan, 30.0, 29.0, np.nan, np.nan]],
    )
    assert impression_grades(log, PLAIN).tolist() == [
        [Grade.ORDERED, Grade.ADDED_TO_CART, Grade.LIKED, Grade.CLICKED, Grade.LIKED, -1]
    ]


def test_the_last_click_is_a_like_unless_it_was_short() -> None:
    last = a_log([[1, 1, 0]], last_clicked_ranks=[1])
    assert impression_grades(last, PLAIN).tolist() == [[Grade.LIKED, Grade.CLICKED, -1]]
    short = a_log([[1, 1, 0]], dwell_seconds=[[np.nan, 3.0, np.nan]])
    assert impression_grades(short, PLAIN).tolist() == [[Grade.CLICKED, Grade.CLICKED, -1]]


def test_only_what_is_above_a_click_or_skipped_is_passed_over() -> None:
    log = a_log(
        [[0, 1, 0, 0], [0, 0, 0, 0]], skips=[[0, 0, 0, 0], [0, 0, 0, 1]], viewed_ranks=[4, 4]
    )
    grades = impression_grades(log, PLAIN)
    assert grades.tolist() == [[0, Grade.LIKED, -1, -1], [-1, -1, -1, 0]]
    labels = labels_of(log)
    assert labels.documents.tolist() == [0, 1, 2, 3]
    assert labels.grades.tolist() == [0, 2, -1, 0]
    assert labels.negatives.tolist() == [True, False, False, True]


def test_nothing_below_the_last_click_is_a_negative_in_any_log() -> None:
    world = a_world("dcm", WEAK, sessions=500, queries=5)
    log = world.log
    grades = impression_grades(log, PLAIN)
    for row in range(log.impressions):
        clicked = np.flatnonzero(log.clicks[row])
        lowest = clicked[-1] if len(clicked) else -1
        assert (grades[row, lowest + 1 :] == Grade.UNKNOWN).all()
        above = ~log.clicks[row, :lowest] if lowest > 0 else np.zeros(0, dtype=bool)
        assert (grades[row, : max(lowest, 0)][above] == Grade.PASSED_OVER).all()


def test_passed_over_too_seldom_is_not_known() -> None:
    log = a_log([[0, 1], [0, 1], [0, 0]])
    twice = LabelRules(least_impressions=0.0, least_skips=2.0)
    thrice = LabelRules(least_impressions=0.0, least_skips=3.0)
    assert labels_of(log, twice).grades.tolist() == [Grade.PASSED_OVER, Grade.LIKED]
    assert labels_of(log, thrice).grades.tolist() == [Grade.UNKNOWN, Grade.LIKED]


def test_clicks_over_expected_examinations_by_hand() -> None:
    """Examinations 1 and .5: document 0 at rank 1 four times, document 1 at rank 2."""
    log = a_log([[1, 0], [1, 1], [0, 0], [0, 0]])
    model = position_model("pbm", log, np.array([1.0, 0.5]))
    labels = label(log, model, PLAIN)
    assert labels.examinations.tolist() == [4.0, 2.0]
    # The prior of each is the mean relevance at its rank, 2 / 4 and 1 / 2.
    assert labels.relevances.tolist() == pytest.approx([(2 + 2 * 0.5) / 6, (1 + 2 * 0.5) / 4])
    assert labels.weights.tolist() == pytest.approx([4 / 6, 2 / 4])
    assert labels.clicks.tolist() == [2, 1]


def test_seldom_shown_documents_are_as_good_as_what_is_shown_there() -> None:
    """Document 2 was shown once, at rank 2, where little is clicked; and clicked."""
    documents = np.array([[0, 1]] * 20 + [[0, 2]])
    clicks = np.array([[1, 0]] * 10 + [[0, 0]] * 10 + [[0, 1]])
    log = click_log(np.zeros(21), documents, clicks=clicks)
    labels = labels_of(log)
    assert labels.relevances[2] == pytest.approx((1 + 2 * (1 / 21)) / 3)
    assert labels.relevances[0] == pytest.approx((10 + 2 * (10 / 21)) / 23)


def test_clicks_for_the_rank_are_taken_off() -> None:
    log = a_log([[1, 1]] * 6 + [[1, 0]] * 4)
    model = PositionModel(
        "trust",
        slopes=np.array([0.5, 0.25]),
        intercepts=np.array([0.4, 0.1]),
        relevances=Relevances(np.zeros(0, dtype=np.int64), np.zeros(0), 0.5),
        known=np.array([True, True]),
    )
    labels = label(log, model, PLAIN)
    by_hand = [(10 - 4.0) / 10, (6 - 1.0) / 5]
    expected = [
        (6 + 2 * by_hand[0]) / 12,
        min((5 + 2 * min(by_hand[1], 1)) / 7, 1.0),
    ]
    assert labels.relevances.tolist() == pytest.approx(expected)


def test_what_was_not_on_the_screen_was_not_examined() -> None:
    log = a_log([[1, 0, 0], [0, 0, 1], [0, 0, 0]], viewed_ranks=[2, 2, 0])
    assert labels_of(log).examinations.tolist() == [3, 3, 2]


def test_old_impressions_weigh_less() -> None:
    log = a_log([[1], [0]], times=[0.0, 30 * DAY_SECONDS])
    rules = LabelRules(least_impressions=0.0, half_life_days=30.0, prior_examinations=0.0)
    labels = labels_of(log, rules)
    assert labels.impressions.tolist() == pytest.approx([1.5])
    assert labels.relevances.tolist() == pytest.approx([0.5 / 1.5])


def test_few_impressions_are_no_label_but_for_orders_and_ratings() -> None:
    documents = np.array([[0, 1, 2], [0, 3, 4]])
    log = click_log(
        np.zeros(2),
        documents,
        clicks=np.array([[1, 1, 0], [0, 1, 0]]),
        orders=np.array([[0, 1, 0], [0, 0, 0]]),
        ratings=np.array([[-1, -1, -1], [-1, -1, 0]]),
    )
    labels = labels_of(log, LabelRules(least_impressions=2.0))
    assert labels.documents.tolist() == [0, 1, 4]
    assert labels.grades.tolist() == [Grade.CLICKED, Grade.ORDERED, 0]


def test_judgments_count_before_clicks() -> None:
    log = a_log([[1, 0], [1, 0], [0, 0]], ratings=[[1, 4], [0, -1], [-1, 3]])
    assert labels_of(log).grades.tolist() == [0, 4]  # means .5 and 3.5, rounded to even


def test_gains_are_relevances_times_the_grade_of_a_click() -> None:
    log = a_log([[1, 1], [1, 0]], orders=[[1, 0], [1, 0]], dwell_seconds=[[50, 5], [50, 5]])
    labels = labels_of(log)
    mean = (4 + 4 + 1) / 3
    per_click = np.array([(8 + 2 * mean) / 4, (1 + 2 * mean) / 3])
    assert labels.gains == pytest.approx(labels.relevances * per_click)


@pytest.mark.parametrize("strength", [3.0, 20.0])
def test_the_prior_is_learnt_from_how_far_pairs_are_apart(strength: float) -> None:
    """Relevances drawn from a Beta distribution of that strength."""
    source = np.random.default_rng(2)
    prior = source.choice([0.1, 0.3], 20_000)
    relevances = source.beta(strength * prior, strength * (1 - prior))
    examined = source.integers(1, 40, 20_000)
    beyond = source.binomial(examined, relevances).astype(float)
    noise = examined * prior * (1 - prior)
    shown = examined.astype(float)
    assert learnt_strength(prior, shown, shown, beyond, noise) == pytest.approx(strength, rel=0.1)


def test_another_part_of_the_log() -> None:
    log = a_world("pbm", WEAK, sessions=2000, queries=20).log
    earlier, later = log.split_by_time(0.5)
    labels = label(later, NoPropensity().fit(earlier), PLAIN)
    assert labels.clicks.sum() == later.clicks.sum()
    assert (np.diff(labels.queries * 30 + labels.documents) > 0).all()


def test_an_empty_log_has_no_labels() -> None:
    log = click_log(np.zeros(0), np.zeros((0, 3)))
    assert len(labels_of(log).queries) == 0
