"""Which candidates are listed, and what the teacher says of them."""

import random

import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

from training.carried.lists import (
    Candidate,
    candidates_of,
    choose_judged,
    choose_made,
    split_judged,
    teacher_score,
)
from training.carried.mine import MinedList, read_lists, write_lists


def mined(query_id="q1", source="judged", count=60, relevance=None):
    return MinedList(
        query_id,
        "tides",
        source,
        tuple(f"d{n}" for n in range(count)),
        tuple(1 - n / 100 for n in range(count)),
        tuple(float(count - n) for n in range(count)),
        tuple(1 / (61 + n) for n in range(count)),
        float(count),
        relevance if relevance is not None else {"d3": 1, "d50": 2},
    )


def test_the_teacher_adds_what_the_legs_know():
    assert teacher_score(Candidate("d", 0.5, 4.0, 1), 8.0, bonus=2.0) == 5.0 + 2.5 + 2.0
    assert teacher_score(Candidate("d", 0.5, 0.0, 0), 0.0, bonus=2.0) == 5.0


def test_a_made_list_is_full_and_has_its_own_document():
    for seed in range(20):
        chosen = choose_made(candidates_of(mined(relevance={"d50": 1})), 8, random.Random(seed))
        assert len({one.doc_id for one in chosen}) == 8
        assert any(one.relevance for one in chosen)
        assert sum(int(one.doc_id[1:]) < 20 for one in chosen) >= 4


def test_a_judged_list_has_relevant_and_hard_ones():
    for seed in range(20):
        chosen = choose_judged(candidates_of(mined()), 8, random.Random(seed))
        assert len({one.doc_id for one in chosen}) == 8
        assert 1 <= sum(one.relevance > 0 for one in chosen) <= 2


def test_a_query_whose_relevant_documents_were_not_recalled_has_no_list():
    assert choose_judged(candidates_of(mined(relevance={})), 8, random.Random(0)) == []


def test_held_queries_are_never_trained_on():
    lists = [mined(f"q{n}") for n in range(20)] + [mined("m", "made")]
    training, held = split_judged(lists, 0.25, seed=1)
    assert len(held) == 5
    assert {one.query_id for one in training}.isdisjoint(one.query_id for one in held)
    assert "m" not in {one.query_id for one in training + held}
    assert split_judged(lists[::-1], 0.25, seed=1) == (training, held)


def test_lists_are_read_as_written(tmp_path):
    write_lists([mined(), mined("q2", "made")], tmp_path / "lists.jsonl")
    assert read_lists(tmp_path / "lists.jsonl") == [mined(), mined("q2", "made")]
