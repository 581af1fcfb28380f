"""The measures against ir-measures (pytrec_eval) on random runs, and on cases worked by hand."""

import math
import random

import ir_measures
import pytest
from ir_measures import RR, R, nDCG

from sidecar.evaluation.measures import MEASURES, mean_measures, ndcg, recall, reciprocal_rank

REFERENCE = {"nDCG@10": nDCG @ 10, "RR@10": RR @ 10, "R@100": R @ 100}


def random_set(seed: int) -> tuple[dict[str, list[str]], dict[str, dict[str, int]]]:
    chance = random.Random(seed)
    documents = [f"d{number}" for number in range(300)]
    run, qrels = {}, {}
    for query in (f"q{number}" for number in range(20)):
        judged = chance.sample(documents, chance.randint(1, 150))
        qrels[query] = {doc_id: chance.choice([0, 0, 0, 1, 2, 3]) for doc_id in judged}
        run[query] = chance.sample(documents, chance.randint(0, 200))
    return run, qrels


@pytest.mark.parametrize("seed", range(10))
def test_equals_ir_measures(seed: int) -> None:
    run, qrels = random_set(seed)
    scored = {
        query: {doc_id: float(-rank) for rank, doc_id in enumerate(ranking)}
        for query, ranking in run.items()
    }
    expected = ir_measures.calc_aggregate(REFERENCE.values(), qrels, scored)
    measured = mean_measures(run, qrels)
    for name, measure in REFERENCE.items():
        assert measured[name] == pytest.approx(expected[measure], abs=1e-9)


def test_names_are_those_of_ir_measures() -> None:
    assert {name: str(measure) for name, measure in REFERENCE.items()} == {n: n for n in MEASURES}


def test_ndcg_worked_by_hand() -> None:
    judged = {"a": 3, "b": 1}
    best = 3 + 1 / math.log2(3)
    assert ndcg(["a", "b"], judged, 10) == 1.0
    assert ndcg(["b", "x", "a"], judged, 10) == pytest.approx((1 + 3 / 2) / best)
    assert ndcg(["x", "a"], judged, 1) == 0.0


def test_cut_counts_from_the_first() -> None:
    assert reciprocal_rank(["x", "a"], {"a": 1}, 2) == 0.5
    assert reciprocal_rank(["x", "a"], {"a": 1}, 1) == 0.0
    assert recall(["x", "a"], {"a": 1, "b": 2}, 2) == 0.5


def test_without_relevant_documents_everything_is_zero() -> None:
    assert mean_measures({"q": ["a"]}, {"q": {"a": 0}}) == dict.fromkeys(MEASURES, 0.0)
    assert mean_measures({}, {"q": {"a": 1}}) == dict.fromkeys(MEASURES, 0.0)
