"""Every measure against ir-measures (pytrec_eval), on random and on awkward cases."""

from __future__ import annotations

import random

import ir_measures
import numpy as np
import pytest

from sidecar.errors import ConfigurationError
from training.measures import (
    Measure,
    judged_rankings,
    measure_ranking,
    measure_run,
    parse_measure,
    to_ranking,
)

SPELLINGS = [
    *(
        f"{name}@{cut}"
        for name in ("nDCG", "RR", "AP", "R", "P", "Hit")
        for cut in (1, 3, 10, 1000)
    ),
    *(f"{name}(rel=2)@{cut}" for name in ("RR", "AP", "R", "P", "Hit") for cut in (2, 10)),
    *("nDCG", "RR", "AP", "RR(rel=3)", "AP(rel=2)"),
]
MEASURES = [parse_measure(spelling) for spelling in SPELLINGS]


def reference(run, qrels):
    """Measure -> query -> value by ir-measures; the order of `run` is the order of its scores."""
    scored = {
        query: {doc_id: float(-rank) for rank, doc_id in enumerate(ranking)}
        for query, ranking in run.items()
    }
    names = {spelling.replace("Hit", "Success"): spelling for spelling in SPELLINGS}
    values = {spelling: {} for spelling in SPELLINGS}
    parsed = [ir_measures.parse_measure(name) for name in names]
    for one in ir_measures.iter_calc(parsed, qrels, scored):
        values[names[str(one.measure)]][one.query_id] = one.value
    return values


def random_set(seed):
    chance = random.Random(seed)
    documents = [f"d{number}" for number in range(60)]
    run, qrels = {}, {}
    for query in (f"q{number}" for number in range(15)):
        judged = chance.sample(documents, chance.randint(1, 50))
        # At least one judgment is no less than 0: pytrec_eval crashes on queries without.
        qrels[query] = {doc_id: chance.choice([-2, -1, 0, 0, 1, 2, 3]) for doc_id in judged}
        qrels[query][judged[0]] = chance.choice([0, 1, 3])
        run[query] = chance.sample(documents, chance.randint(0, 60))
    del run["q0"]  # judged and never ranked
    run["unknown"] = ["d1"]  # ranked and never judged
    return run, qrels


def assert_equal_to_the_reference(run, qrels):
    expected, measured = reference(run, qrels), measure_run(MEASURES, run, qrels)
    for measure, spelling in zip(MEASURES, SPELLINGS, strict=True):
        assert measured[spelling] == pytest.approx(expected[spelling], abs=1e-9)
        one_by_one = {
            query: measure_ranking(measure, run.get(query, ()), judged)
            for query, judged in qrels.items()
        }
        assert one_by_one == pytest.approx(expected[spelling], abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_equals_ir_measures_on_random_sets(seed):
    assert_equal_to_the_reference(*random_set(seed))


@pytest.mark.parametrize(
    ("ranking", "judged"),
    [
        ([], {"a": 1}),
        (["x", "y"], {"a": 1}),
        (["a"], {"a": 0}),
        (["b", "a"], {"a": 3, "b": -1}),
        (["a", "b", "c"], {"a": 3, "b": 3, "c": 3, "d": 3}),
        ([f"d{n}" for n in range(1200)], {f"d{n}": 1 for n in range(500, 1200, 7)}),
    ],
    ids=["empty", "unjudged", "nothing relevant", "negative", "all alike", "deep"],
)
def test_equals_ir_measures_on_awkward_rankings(ranking, judged):
    assert_equal_to_the_reference({"q": ranking}, {"q": judged})


def test_only_negative_judgments_count_nothing():
    values = measure_run(MEASURES, {"q": ["a"]}, {"q": {"a": -2}})
    assert {value for by_query in values.values() for value in by_query.values()} == {0.0}


@pytest.mark.parametrize("seed", range(10))
def test_ties_are_broken_as_trec_eval_breaks_them(seed):
    chance = random.Random(seed)
    scores = {f"d{n}": chance.choice([0.5, 0.5 + 1e-12, 0.25, -1.0]) for n in range(30)}
    judged = {f"d{n}": chance.choice([0, 1, 2]) for n in range(30)}
    names = ["nDCG@10", "nDCG@3", "AP", "RR", "P@5"]
    parsed = [ir_measures.parse_measure(name) for name in names]
    for one in ir_measures.iter_calc(parsed, {"q": judged}, {"q": scores}):
        measure = parse_measure(str(one.measure))
        assert measure_ranking(measure, to_ranking(scores), judged) == pytest.approx(one.value)


def test_names_are_read_and_written():
    assert [str(measure) for measure in MEASURES] == SPELLINGS
    assert parse_measure("Success@5") == Measure("Hit", 5)


@pytest.mark.parametrize(
    "spelling", ["ndcg@10", "R", "P", "nDCG@0", "nDCG(rel=2)@10", "P(rel=0)@5", "", "RR@-1"]
)
def test_a_measure_that_cannot_be_meant_is_refused(spelling):
    with pytest.raises(ConfigurationError, match="measure"):
        parse_measure(spelling)


def test_a_document_ranked_twice_is_refused():
    with pytest.raises(ValueError, match="'q': a document is ranked twice"):
        judged_rankings({"q": ["a", "b", "a"]}, {"q": {"a": 1}})


def test_depth_leaves_out_what_stands_below():
    rankings = judged_rankings({"q": ["x", "a"]}, {"q": {"a": 2, "b": 1}}, depth=1)
    assert np.array_equal(rankings.found, [[0.0]])
    assert np.array_equal(rankings.judgments, [[2.0, 1.0]])
