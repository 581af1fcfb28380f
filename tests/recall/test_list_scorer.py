"""BM25 over a candidate list, against the formula written out."""

from __future__ import annotations

import math

import pytest

from sidecar.recall.list_scorer import score_list


def bm25(
    query: list[str], corpus: list[list[str]], k1: float = 1.2, b: float = 0.75
) -> list[float]:
    average = sum(map(len, corpus)) / len(corpus)
    scores = []
    for passage in corpus:
        score = 0.0
        for term in query:
            frequency = sum(term in other for other in corpus)
            if frequency:
                tf = passage.count(term)
                norm = k1 * (1 - b + b * len(passage) / average) + tf
                score += math.log((len(corpus) + 1) / frequency) * tf * (k1 + 1) / norm
        scores.append(score)
    return scores


def test_against_the_formula():
    passages = ["red fox red", "lazy dog", "red dog barks loud", "cat", ""]
    corpus = [["red", "fox", "red"], ["lazi", "dog"], ["red", "dog", "bark", "loud"], ["cat"], []]
    assert score_list("Red dogs", passages, "english") == pytest.approx(
        bm25(["red", "dog"], corpus)
    )


def test_terms_in_most_candidates_still_count():
    scores = score_list("red", ["red", "red red", "red fox", "cat"], "english")
    assert min(scores[:3]) > scores[3] == 0.0


@pytest.mark.parametrize(
    ("query", "passages", "scores"),
    [
        ("red", [], []),
        ("red", ["", "?!"], [0.0, 0.0]),
        ("the", ["red", "fox"], [0.0, 0.0]),
        ("dog", ["red"], [0.0]),
    ],
)
def test_degenerate_lists(query: str, passages: list[str], scores: list[float]):
    assert score_list(query, passages, "english") == scores


def test_one_candidate_and_equal_candidates():
    assert score_list("red", ["red fox"], "english")[0] > 0
    assert len(set(score_list("red", ["red fox"] * 3, "english"))) == 1


def test_chinese():
    scores = score_list("手机壳", ["苹果手机壳", "天安门", "手机"], "chinese")
    assert scores[0] > scores[2] > scores[1] == 0.0
