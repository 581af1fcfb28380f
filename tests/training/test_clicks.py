"""Click logs: what is filled in, refused, drawn and split."""

from __future__ import annotations

import numpy as np
import pytest

from training.clicks.log import UNSHOWN, ClickLog, click_log, lowest_rank


def a_log() -> ClickLog:
    """Four impressions, two sessions; the third is short, the last swapped at rank 2."""
    return click_log(
        np.array([0, 1, 0, 0]),
        np.array([[0, 1, 2], [1, 2, 3], [2, 0, UNSHOWN], [0, 2, 1]]),
        clicks=np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0], [0, 1, 0]]),
        sessions=np.array([5, 5, 9, 9]),
        times=np.array([10.0, 11.0, 3.0, 12.0]),
        swapped_ranks=np.array([0, 0, 0, 2]),
    )


def test_what_is_not_given_is_unknown() -> None:
    log = a_log()
    assert (log.impressions, log.ranks) == (4, 3)
    assert log.weights.tolist() == [1, 1, 1, 1]
    assert np.isnan(log.dwell_seconds).all()
    assert not log.orders.any()
    assert log.last_clicked_ranks.tolist() == [1, 3, 0, 2]
    assert log.document_names == ("0", "1", "2", "3")


def test_pairs_are_of_query_and_document() -> None:
    ids = a_log().pair_ids
    assert ids[0, 1] == ids[3, 2]
    assert ids[0, 1] != ids[1, 0]
    assert ids[2, 2] == UNSHOWN


def test_pairs_keep_their_ids_in_a_part() -> None:
    log = a_log()
    part = log.select(np.array([False, True, False, True]))
    assert (part.pair_ids == log.pair_ids[[1, 3]]).all()


def test_the_ranking_before_its_swap() -> None:
    assert a_log().unswapped().tolist()[3] == [0, 1, 2]
    assert a_log().unswapped().tolist()[:3] == a_log().documents.tolist()[:3]


def test_sessions_are_not_split() -> None:
    earlier, later = a_log().split_by_time(0.5)
    assert later.sessions.tolist() == [5, 5]  # that of 9 began before
    assert earlier.times.tolist() == [3.0, 12.0]
    for seed in range(20):
        rest, held = a_log().split(0.5, seed)
        assert not set(rest.sessions) & set(held.sessions)
        assert rest.impressions + held.impressions == 4


def test_a_resample_draws_whole_sessions() -> None:
    log, source = a_log(), np.random.default_rng(3)
    seen = set()
    for _ in range(50):
        drawn = log.resampled(source)
        counts = dict(zip(drawn.sessions.tolist(), drawn.weights.tolist(), strict=True))
        assert sum(counts.values()) == 2
        assert len(set(drawn.weights[drawn.sessions == 5])) <= 1
        seen.add(counts.get(5, 0.0))
    assert seen == {0.0, 1.0, 2.0}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"clicks": np.ones((4, 3))}, "no document was shown"),
        ({"times": np.zeros(3)}, "times has the shape"),
        ({"clics": np.zeros((4, 3))}, "no columns of a click log: clics"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, np.ndarray], reason: str) -> None:
    log = a_log()
    with pytest.raises(ValueError, match=reason):
        click_log(log.queries, log.documents, **changes)


def test_lowest_rank() -> None:
    marked = np.array([[1, 0, 1], [0, 0, 0]], dtype=bool)
    assert lowest_rank(marked).tolist() == [3, 0]


def test_an_empty_log() -> None:
    log = click_log(np.zeros(0), np.zeros((0, 0)))
    assert (log.impressions, log.ranks) == (0, 0)
    assert log.split_by_time(0.5)[1].impressions == 0
