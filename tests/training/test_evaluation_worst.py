"""What went wrong with a query, on cases made up so that only one thing did."""

from __future__ import annotations

import dataclasses

import pytest

from training.evaluation.worst import (
    BELOW,
    DUPLICATE,
    FURTHER,
    GONE,
    IRRELEVANT,
    MISSED,
    UNJUDGED,
    UNREAD,
    Case,
    chosen_cases,
    near_duplicate,
    rank_of,
    reasons_of,
    worst_row,
)

TEXTS = {
    "good": "a brass desk lamp with a green glass shade and a pull chain switch",
    "twin": "A brass desk lamp with a green glass shade and a pull chain switch",
    "other": "a garden hose of fifty feet with brass fittings at both of its ends",
    "bad": "a set of steel drill bits in a case",
}
CASE = Case(
    query_id="q",
    query="desk lamp",
    judged={"good": 3, "bad": 0},
    production=["good", "other", "bad"],
    candidate=["other", "good", "bad"],
    recalled=["good", "other", "bad"],
    read=["good", "other", "bad"],
    depth=50,
    scores={"good": 1.0, "other": 3.5, "bad": -2.0},
    values=(1.0, 0.63),
)


def names(**changed: object) -> list[str]:
    return [name for name, _ in reasons_of(dataclasses.replace(CASE, **changed), TEXTS)]


def test_each_reason_is_found_where_it_was_made() -> None:
    assert names() == [BELOW, UNJUDGED]
    assert names(candidate=["bad", "good"]) == [BELOW, IRRELEVANT]
    assert names(candidate=["twin", "good"], read=["x", "good"]) == [DUPLICATE]
    assert names(recalled=["other"], read=["other"], candidate=["other"]) == [MISSED, UNJUDGED]
    assert names(read=["other", "bad", "good"], candidate=["other", "bad", "good"], depth=2) == [
        UNREAD,
        UNJUDGED,
    ]
    assert names(judged={"bad": 0}) == [GONE]
    two = {"good": 3, "other": 1}
    assert names(judged=two, candidate=["good", "bad", "other"]) == [FURTHER]


def test_the_words_say_the_ranks() -> None:
    told = dict(reasons_of(dataclasses.replace(CASE, candidate=["other", "bad", "good"]), TEXTS))
    assert told[BELOW] == "A relevant document went from rank 1 to rank 3."
    gone = dataclasses.replace(CASE, recalled=["other"], candidate=["other"])
    told = dict(reasons_of(gone, TEXTS))
    assert told[MISSED].endswith("production has one at rank 1.")
    unread = dataclasses.replace(CASE, read=["other", "bad", "good"], depth=2)
    assert "was at rank 3, 2 are read" in dict(reasons_of(unread, TEXTS))[UNREAD]


def test_a_row_has_the_ranks_in_both_and_the_gap_of_the_scores() -> None:
    row = worst_row(CASE, TEXTS)
    assert row["positives"] == [
        {
            "doc_id": "good",
            "grade": 3,
            "production_rank": 1,
            "candidate_rank": 2,
            "recall_rank": 1,
        }
    ]
    assert row["top1"] == {"doc_id": "other", "grade": None, "passage": TEXTS["other"]}
    assert row["score_gap"] == 2.5
    assert row["difference"] == pytest.approx(-0.37)
    assert (row["reason"], row["reasons"]) == (BELOW, [BELOW, UNJUDGED])
    assert row["explanation"] == (
        "Production has the first relevant document at rank 1, this at rank 2. A relevant document "
        "went from rank 1 to rank 2. Nobody has judged the first document; it counts as not "
        "relevant."
    )
    unscored = worst_row(dataclasses.replace(CASE, scores={"good": 1.0}), TEXTS)
    assert unscored["score_gap"] is None
    nothing = worst_row(dataclasses.replace(CASE, candidate=[], recalled=[]), TEXTS)
    assert (nothing["top1"], nothing["reason"]) == (None, MISSED)


def test_what_lost_most_comes_first_then_what_is_lowest() -> None:
    values = {
        "fell": (1.0, 0.1),
        "fell a little": (0.5, 0.4),
        "low": (0.0, 0.0),
        "perfect": (0.2, 1.0),
        "rose": (0.1, 0.3),
    }
    assert chosen_cases(values, 4) == ["fell", "fell a little", "low", "rose"]
    assert chosen_cases(values, 2) == ["fell", "low"]
    assert "perfect" not in chosen_cases(values, 10)
    assert chosen_cases({"same": (1.0, 1.0)}, 10) == []


def test_near_duplicates_share_their_words_in_threes() -> None:
    assert near_duplicate(TEXTS["good"], TEXTS["twin"])
    assert not near_duplicate(TEXTS["good"], TEXTS["other"])
    assert not near_duplicate("", "")
    assert near_duplicate("red lamp", "Red lamp")


def test_ranks_count_from_one() -> None:
    assert rank_of(["a", "b"], "b") == 2
    assert rank_of(["a"], "b") is None
