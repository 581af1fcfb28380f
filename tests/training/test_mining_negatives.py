"""The rules by which negatives are chosen, against slow and obvious versions of them."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.mining.negatives import (
    in_drawing_order,
    quotas,
    source_of,
    too_good,
)
from training.serving.client import RecallHit
from training.shingles import jaccard, shingles

SCORES = st.one_of(st.none(), st.floats(-2, 30).map(lambda score: round(score, 2)))
LISTS = st.lists(st.tuples(SCORES, SCORES), max_size=12).map(
    lambda legs: [
        RecallHit(f"d{rank}", rank, 1 / rank, *scores) for rank, scores in enumerate(legs, start=1)
    ]
)


@given(LISTS, st.sets(st.integers(1, 14)), st.sampled_from([0.0, 0.05, 0.3, 1.0]))
def test_too_good_is_what_the_deciding_leg_holds_near_a_positive(
    recalled: list[RecallHit], numbers: set[int], margin: float
) -> None:
    positives = {f"d{number}" for number in numbers}
    legs: dict[str, dict[str, float]] = {"dense": {}, "lexical": {}}
    for each in recalled:
        for name, scores in legs.items():
            score = getattr(each, name)
            if score is not None:
                scores[each.doc_id] = score
    deciding = next((scores for scores in legs.values() if scores.keys() & positives), {})
    best = max((deciding[name] for name in deciding.keys() & positives), default=0.0)
    limit = (1 - margin) * best if best > 0 else (1 + margin) * best
    expected = {name for name, score in deciding.items() if score > limit} - positives
    rounded = {name for name, score in deciding.items() if math.isclose(score, limit)}
    assert too_good(recalled, positives, margin) - rounded == expected - rounded


def test_a_relative_margin_of_five_in_a_hundred() -> None:
    recalled = [
        RecallHit(name, rank, 0.0, None, score)
        for rank, (name, score) in enumerate(
            [("above", 0.9), ("positive", 0.8), ("just within", 0.77), ("below", 0.76)], start=1
        )
    ]
    assert too_good(recalled, {"positive"}, 0.05) == {"above", "just within"}
    assert too_good(recalled, {"positive"}, 0.0) == {"above"}
    assert too_good(recalled, {"elsewhere"}, 0.05) == set()
    below_zero = [
        RecallHit(name, 1, 0.0, None, score)
        for name, score in (("positive", -0.1), ("within", -0.104), ("below", -0.106))
    ]
    assert too_good(below_zero, {"positive"}, 0.05) == {"within"}


@given(st.integers(0, 40), st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(1, 10)))
def test_quotas_add_up_and_are_off_by_less_than_one(
    negatives: int, parts: tuple[int, int, int]
) -> None:
    shares = [part / sum(parts) for part in parts]
    found = quotas(negatives, shares)
    assert sum(found) == negatives
    assert all(
        abs(count - negatives * share) < 1 for count, share in zip(found, shares, strict=True)
    )


def test_quotas_of_the_defaults() -> None:
    assert quotas(7, (0.5, 0.25, 0.25)) == [3, 2, 2]
    assert quotas(4, (0.5, 0.25, 0.25)) == [2, 1, 1]


def test_the_chance_to_be_drawn_first_falls_as_the_rank() -> None:
    recalled = [RecallHit(f"d{rank}", rank, 1 / rank) for rank in (1, 2, 5, 10)]
    draws = 20_000
    source = np.random.default_rng(5)
    firsts = Counter(in_drawing_order(recalled, source)[0].rank for _ in range(draws))
    total = sum(1 / each.rank for each in recalled)
    for each in recalled:
        share = 1 / each.rank / total
        deviation = math.sqrt(share * (1 - share) / draws)
        assert firsts[each.rank] / draws == pytest.approx(share, abs=4 * deviation)


@given(st.integers(0, 2**40), st.text(max_size=8))
def test_what_is_drawn_follows_from_seed_and_query_alone(seed: int, query_id: str) -> None:
    recalled = [RecallHit(f"d{rank}", rank, 1.0) for rank in range(1, 20)]
    one = in_drawing_order(recalled, source_of(seed, query_id))
    assert one == in_drawing_order(recalled, source_of(seed, query_id))
    assert sorted(each.rank for each in one) == list(range(1, 20))
    others = [in_drawing_order(recalled, source_of(seed + 1 + n, query_id)) for n in range(3)]
    assert any(other != one for other in others)


WORDS = st.lists(st.sampled_from("red green blue tea".split()), max_size=9)  # noqa: SIM905


@given(WORDS, WORDS)
def test_near_duplicates_are_counted_as_by_hand(one: list[str], other: list[str]) -> None:
    def runs(words: list[str]) -> list[str]:
        if len(words) < 3:
            return [" ".join(words)]
        return [" ".join(words[at : at + 3]) for at in range(len(words) - 2)]

    shared = [run for run in set(runs(one)) if run in runs(other)]
    expected = len(shared) / len(set(runs(one) + runs(other)))
    found = jaccard(shingles(" ".join(one)), shingles(", ".join(other).upper()))
    assert found == pytest.approx(expected)
