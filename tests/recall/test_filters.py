"""Filters: the two translations against a plain predicate, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import FakeBiEncoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recalling import SCHEMA, VALUES, a_collection, a_document, attributes, filters, matches, write

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.recall import filters as recall_filters
from sidecar.recall.filters import check_filter
from sidecar.types import AllOf, AnyOf, Attribute, Equals, Filter, NoneOf, OneOf, Range

DOCUMENTS = 120


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory):
    """Documents with all sorts of attributes, in both indexes."""
    collection = a_collection(tmp_path_factory.mktemp("filters"))
    rng = np.random.default_rng(7)
    documents = []
    for number in range(DOCUMENTS):
        present = [name for name in VALUES if rng.random() < 0.7]
        values = {name: VALUES[name][rng.integers(len(VALUES[name]))] for name in present}
        documents.append(a_document(number, **values))
    write(collection, documents)
    yield collection, {document.doc_id: dict(document.attributes) for document in documents}
    collection.close()


@given(filters, attributes)
def test_what_a_filter_means_is_what_recall_finds(filter: Filter, held: dict[str, Attribute]):
    assert recall_filters.matcher_of(filter)(held) == matches(filter, held)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(filter=filters)
def test_both_legs_recall_just_what_matches(filled, filter: Filter):
    collection, values = filled
    wanted = {doc_id for doc_id, held in values.items() if matches(filter, held)}
    lexical = collection.lexical("common", filter, DOCUMENTS)
    dense = collection.dense(FakeBiEncoder().encode_queries(["common"])[0], filter, DOCUMENTS)
    assert {recalled.doc_id for recalled in lexical.recalled} == wanted
    assert {recalled.doc_id for recalled in dense.recalled} == wanted
    assert dense.eligible == len(wanted)


@settings(max_examples=50, deadline=None)
@given(filter=filters)
def test_a_filter_changes_no_score_and_cuts_before_ranking(filled, filter: Filter):
    collection, values = filled
    whole = {r.doc_id: r.score for r in collection.lexical("common word7", None, 200).recalled}
    matching = [doc_id for doc_id in whole if matches(filter, values[doc_id])]
    cut = collection.lexical("common word7", filter, 5).recalled
    assert len(cut) == min(5, len(matching))
    assert [recalled.score for recalled in cut] == sorted(
        (whole[doc_id] for doc_id in matching), reverse=True
    )[:5]


@given(attributes)
def test_the_predicate_and_a_never_matching_pair(values):
    anything = Equals("new", True)
    assert matches(AnyOf((anything, NoneOf((anything,)))), values)
    assert not matches(AllOf((anything, NoneOf((anything,)))), values)


def nested(levels: int) -> Filter:
    filter: Filter = Equals("new", True)
    for _ in range(levels - 1):
        filter = NoneOf((filter,))
    return filter


@pytest.mark.parametrize(
    ("filter", "field", "says"),
    [
        (Equals("colou", "red"), "filter.equals.attribute", "did you mean 'colour'"),
        (
            AllOf((Equals("new", True), Equals("yaer", 1))),
            "filter.all_of[1].equals.attribute",
            "did you mean 'year'",
        ),
        (
            Equals("year", "1"),
            "filter.equals.value",
            "is of type string, the attribute of type integer",
        ),
        (Equals("year", True), "filter.equals.value", "is of type boolean"),
        (Equals("new", 1), "filter.equals.value", "is of type integer"),
        (Equals("price", 1), "filter.equals.value", "is of type integer"),
        (Equals("price", float("nan")), "filter.equals.value", "finite"),
        (Equals("year", 2**63), "filter.equals.value", "64-bit"),
        (Equals("tags", ("red",)), "filter.equals.value", "is of type string_list"),
        (Equals("colour", "\ud800"), "filter.equals.value", "surrogate"),
        (Equals("colour", "x" * 1025), "filter.equals.value", "1024 bytes"),
        (OneOf("year", ()), "filter.one_of.values", "at least one"),
        (OneOf("year", (1, "2")), "filter.one_of.values[1]", "is of type string"),
        (OneOf("year", (1,) * 1025), "filter.one_of.values", "at most 1024"),
        (Range("colour", "a"), "filter.range.attribute", "'colour' is of type string"),
        (Range("tags", "a"), "filter.range.attribute", "'tags' is of type string_list"),
        (Range("year"), "filter.range", "no bound"),
        (Range("year", lower=1.5), "filter.range.at_least", "is of type double"),
        (Range("year", upper="x", upper_inclusive=False), "filter.range.less_than", "string"),
        (AnyOf(()), "filter.any_of", "at least one"),
        (AnyOf((NoneOf(()),)), "filter.any_of[0].none_of", "at least one"),
        (AllOf((Equals("new", True),) * 256), "filter", "257 conditions"),
        (nested(17), "filter" + ".none_of[0]" * 16, "16 levels"),
    ],
)
def test_what_is_refused(filter: Filter, field: str, says: str):
    with pytest.raises(InvalidFieldError) as caught:
        check_filter(filter, SCHEMA)
    assert caught.value.field == field
    assert says in caught.value.description


def test_the_limits_themselves_are_allowed(filled):
    collection, _ = filled
    most = AnyOf((Equals("new", True),) * 255)
    deep = nested(16)
    long = AllOf((OneOf("year", tuple(range(1024))),) * 40)
    for filter in (most, deep, long):
        check_filter(filter, SCHEMA)
        lexical = collection.lexical("common", filter, DOCUMENTS)
        dense = collection.dense(FakeBiEncoder().encode_queries(["x"])[0], filter, DOCUMENTS)
        assert {r.doc_id for r in lexical.recalled} == {r.doc_id for r in dense.recalled}


def test_sizes_are_too_large_rather_than_invalid():
    with pytest.raises(TooLargeError):
        check_filter(OneOf("year", (1,) * 1025), SCHEMA)


def test_an_operand_is_never_read_as_sql(filled):
    collection, _ = filled
    leg = collection.lexical("common", Equals("colour", "' OR 1=1 --"), 10)
    assert leg.recalled == ()


@settings(max_examples=30)
@given(st.sampled_from([Path("x"), b"x", None]))
def test_foreign_types_are_refused(value):
    with pytest.raises(InvalidFieldError):
        check_filter(Equals("colour", value), SCHEMA)
