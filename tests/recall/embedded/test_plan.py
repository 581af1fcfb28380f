"""Searches under a filter against a scan, for every share of documents that match, in both legs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fakes import FakeBiEncoder
from hypothesis import given, settings
from hypothesis import strategies as st
from recalling import a_collection, a_document, matches, write

import sidecar.recall.embedded.ties as ties_module
from sidecar.recall.embedded.plan import DEEPER, Attempt, Way, attempts, first_enough
from sidecar.types import AllOf, Equals, Filter, NoneOf, OneOf, Range

DOCUMENTS = 3000
DEPTHS = (1, 10, 200)


class Index:
    """Scores of documents; it is asked by rank, and counts how."""

    def __init__(self, scores: dict[int, float], passing: set[int]) -> None:
        self.ranked = sorted(scores.items(), key=lambda each: -each[1])
        self.passing = passing
        self.asked: list[tuple[Way, int]] = []

    def search(self, way: Way, most: int) -> list[tuple[int, float]]:
        self.asked.append((way, most))
        if way is Way.AFTER:
            return self.ranked[:most]
        return [each for each in self.ranked if each[0] in self.passing][:most]


@settings(max_examples=400)
@given(
    scores=st.dictionaries(st.integers(1, 200), st.sampled_from([0.5, 1.0, 2.0, 3.0]), max_size=80),
    passing=st.sets(st.integers(1, 200)),
    dead=st.sets(st.integers(1, 200)),
    depth=st.integers(1, 30),
    least_share=st.sampled_from([0.0, 0.3, 1.1]),
)
def test_the_best_that_pass_are_found_with_their_equals(scores, passing, dead, depth, least_share):
    index = Index(scores, passing)
    tries = attempts(len(passing), max(200, len(scores)), depth, least_share)

    def keep(found):
        return [each for each in found if each[0] in passing and each[0] not in dead]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ties_module, "TIE_MARGIN", 1)
        found = first_enough(tries, depth, index.search, keep)
    living = keep(index.ranked)
    if len(living) <= depth:
        assert sorted(found) == sorted(living)
        return
    least = living[depth - 1][1]
    assert {each for each in living if each[1] >= least} <= set(found) <= set(living)


def test_few_are_searched_within_and_many_after():
    assert attempts(0, 1000, 10, 0.3) == (Attempt(Way.WITHIN, 10),)
    assert attempts(299, 1000, 10, 0.3) == (Attempt(Way.WITHIN, 10),)
    first, second, last = attempts(300, 1000, 10, 0.3)
    assert (first.way, second.way, last) == (Way.AFTER, Way.AFTER, Attempt(Way.WITHIN, 10))
    assert 10 / 0.3 < first.depth < 100
    assert second.depth == DEEPER * first.depth


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("depth", [1, 10, 40, 200, 1000])
def test_the_first_attempt_nearly_always_suffices(share, depth):
    """Where the filter has nothing to do with the query."""
    deep = attempts(int(share * 10_000), 10_000, depth, 0.3)[0].depth
    passing = np.random.default_rng(depth).binomial(deep, share, 20_000)
    assert np.mean(passing < depth) < 0.01


def test_a_filter_that_contradicts_the_query_ends_within():
    index = Index({n: float(n) for n in range(1, 10_001)}, set(range(1, 5001)))
    tries = attempts(5000, 10_000, 10, 0.3)
    found = first_enough(
        tries, 10, index.search, lambda f: [each for each in f if each[0] in index.passing]
    )
    assert found[:10] == [(n, float(n)) for n in range(5000, 4990, -1)]
    assert [way for way, _ in index.asked] == [Way.AFTER, Way.AFTER, Way.WITHIN]


@pytest.fixture(scope="module", params=["flat", "auto"])
def filled(request, tmp_path_factory: pytest.TempPathFactory):
    """Documents of few words, so that many are equal, with years of 0 to 9,999 at random; "even"
    and the colour go together."""
    collection = a_collection(tmp_path_factory.mktemp("plan"), kind=request.param)
    rng = np.random.default_rng(11)
    documents = []
    for number in range(DOCUMENTS):
        words = ["even" if number % 2 else "odd", *(f"w{n}" for n in rng.zipf(1.5, 4) if n < 50)]
        colour = "red" if number % 2 else "blue"
        year = int(rng.integers(0, 10_000))
        documents.append(a_document(number, " ".join(words), year=year, colour=colour))
    write(collection, documents)
    yield collection, {document.doc_id: dict(document.attributes) for document in documents}
    collection.close()


FILTERS: list[Filter] = [
    *(Range("year", upper=share - 1) for share in (1, 10, 100, 1000, 2900, 3100, 5000, 9000)),
    Equals("colour", "red"),
    Equals("colour", "blue"),
    NoneOf((Equals("colour", "blue"),)),
    AllOf((Equals("colour", "red"), Range("year", lower=2000))),
    OneOf("year", tuple(range(0, 9999, 2))[:1024]),
]


@pytest.mark.parametrize("filter", FILTERS, ids=str)
@pytest.mark.parametrize("query", ["common even w1", "odd w2 w3", "w7"])
def test_both_legs_find_what_a_scan_finds(filled, filter: Filter, query: str):
    collection, values = filled
    passing = {doc_id for doc_id, held in values.items() if matches(filter, held)}
    vector = FakeBiEncoder().encode_queries([query])[0]
    legs: list[Callable] = [
        lambda filter, depth: collection.lexical(query, filter, depth),
        lambda filter, depth: collection.dense(vector, filter, depth),
    ]
    for leg in legs:
        whole = [each for each in leg(None, DOCUMENTS).recalled if each.doc_id in passing]
        for depth in DEPTHS:
            cut = leg(filter, depth)
            assert list(cut.recalled) == whole[:depth]
            assert cut.eligible == len(passing)


@pytest.mark.parametrize("leg", ["lexical", "dense"])
@pytest.mark.parametrize("others", [0, 40], ids=["after", "within"])
def test_what_goes_to_another_tenant_during_a_search_is_not_found(
    tmp_path, monkeypatch, leg: str, others: int
):
    """It is written, and acknowledged, while the index answers with what it was."""
    collection = a_collection(tmp_path, kind="fp16")
    try:
        mine = [a_document(number, colour="red") for number in range(10)]
        write(collection, [*mine, *(a_document(100 + n, colour="blue") for n in range(others))])
        derived = collection._derived
        index = derived.lexical if leg == "lexical" else derived.generations.leading.dense
        search = index.search

        def search_and_move(*arguments):
            found = search(*arguments)
            collection.upsert([a_document(number, colour="blue") for number in range(3)])
            return found

        monkeypatch.setattr(index, "search", search_and_move)
        vector = FakeBiEncoder().encode_queries(["common"])[0]
        red = Equals("colour", "red")
        if leg == "lexical":
            found = collection.lexical("common", red, 10)
        else:
            found = collection.dense(vector, red, 10)
        assert {each.doc_id for each in found.recalled} == {f"d{n:04}" for n in range(3, 10)}
    finally:
        collection.close()
