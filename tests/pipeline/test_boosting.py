"""Factors on fused scores: filters against a plain predicate, decay against its formula."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal, getcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recalling import SCHEMA, attributes, filters, matches

from sidecar.errors import InvalidFieldError
from sidecar.pipeline.boosting import boost_function, boosted, check_boosting, decay_of, factors_of
from sidecar.recall import filters as recall_filters
from sidecar.recall.base import Recalled
from sidecar.types import Boost, Decay, Equals, OneOf, Query, Range

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = 86_400.0
lengths = st.floats(1e-3, 1e6)
shares = st.floats(0, 1)


@given(attributes, st.lists(st.tuples(filters, st.floats(0.01, 16)), max_size=4))
def test_a_boost_is_the_product_of_the_factors_whose_filter_matches(held, pairs):
    boosts = [Boost(filter, factor) for filter, factor in pairs]
    wanted = 1.0
    for filter, factor in pairs:
        wanted *= factor if matches(filter, held) else 1.0
    assert boost_function(boosts)(held) == pytest.approx(wanted)


def test_what_a_boost_compares_with_is_read_once_for_all_documents(monkeypatch):
    read = []
    monkeypatch.setattr(recall_filters, "to_row_value", lambda value: read.append(value) or value)
    values = tuple(f"colour{number}" for number in range(1000))
    query = Query("q", boosts=(Boost(OneOf("colour", values), 2.0),))
    held = {f"d{number}": {"colour": f"colour{number}"} for number in range(1100)}
    factors = factors_of(held, query, NOW)
    assert sum(factor == 2.0 for factor in factors.values()) == 1000
    assert len(read) == 1000


@given(
    st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9), lengths, st.floats(0, 1e6), shares
)
def test_a_decay_of_numbers_is_its_formula(value, origin, half_life, offset, floor):
    getcontext().prec = 60
    beyond = max(Decimal(0), abs(Decimal(value) - origin) - Decimal(offset)) / Decimal(half_life)
    wanted = max(Decimal(floor), Decimal(2) ** -beyond)
    decay = Decay("year", half_life, origin, offset, floor)
    assert decay_of({"year": value}, decay, NOW) == pytest.approx(float(wanted), abs=1e-12)


def test_a_decay_of_times_is_in_seconds_and_from_now_unless_told():
    recent = {"seen": NOW - timedelta(days=1)}
    weekly = Decay("seen", half_life=7 * DAY)
    assert decay_of({"seen": NOW - timedelta(days=7)}, weekly, NOW) == 0.5
    assert decay_of({"seen": NOW + timedelta(days=14)}, weekly, NOW) == 0.25
    assert decay_of(recent, Decay("seen", 7 * DAY, offset=DAY), NOW) == 1.0
    assert decay_of(recent, Decay("seen", DAY, NOW - timedelta(days=2)), NOW) == 0.5
    assert (
        decay_of({"seen": NOW - timedelta(days=8)}, Decay("seen", 7 * DAY, None, DAY), NOW) == 0.5
    )


def test_a_decay_has_a_floor_and_a_factor_for_what_is_missing():
    old = {"seen": datetime(1, 1, 1, tzinfo=UTC)}
    assert decay_of(old, Decay("seen", 1e-300), NOW) == 0.0
    assert decay_of(old, Decay("seen", 1.0, floor=0.25), NOW) == 0.25
    assert decay_of({}, Decay("seen", 1.0), NOW) == 1.0
    assert decay_of({}, Decay("seen", 1.0, floor=0.5, missing=0.125), NOW) == 0.125


def test_distances_of_any_size_have_a_factor():
    for value, origin in ((2**63 - 1, -(2**63)), (-1e300, 1e308)):
        assert decay_of({"x": value}, Decay("x", 1.0, origin), NOW) == 0.0
        assert 0.0 <= decay_of({"x": value}, Decay("x", 1e308, origin), NOW) <= 1.0


@given(st.dictionaries(st.integers(0, 30).map(str), st.floats(0, 1), max_size=20), st.data())
def test_boosted_is_the_order_of_the_products(scores, data):
    fused = [Recalled(doc_id, score) for doc_id, score in scores.items()]
    factors = {doc_id: data.draw(st.floats(0.01, 16)) for doc_id in scores}
    products = {doc_id: scores[doc_id] * factors[doc_id] for doc_id in scores}
    wanted = sorted(products, key=lambda doc_id: (-products[doc_id], doc_id))
    found = boosted(fused, factors)
    assert [one.doc_id for one in found] == wanted
    assert all(one.score == products[one.doc_id] for one in found)


def test_what_was_deleted_meanwhile_has_no_factor_and_no_place():
    query = Query("q", boosts=(Boost(Equals("colour", "red"), 2.0),))
    factors = factors_of({"a": {"colour": "red"}, "b": {}}, query, NOW)
    assert factors == {"a": 2.0, "b": 1.0}
    fused = [Recalled("gone", 1.0), Recalled("b", 0.6), Recalled("a", 0.5)]
    assert boosted(fused, factors) == [Recalled("a", 1.0), Recalled("b", 0.6)]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (Query("q", boosts=(Boost(Equals("color", "red"), 2.0),)), "boosts[0].filter.equals"),
        (Query("q", boosts=(Boost(Range("colour", "a"), 2.0),)), "boosts[0].filter.range"),
        (Query("q", decay=Decay("sean", 1.0)), "decay.attribute"),
        (Query("q", decay=Decay("colour", 1.0)), "decay.attribute"),
        (Query("q", decay=Decay("year", 1.0)), "decay.origin"),
        (Query("q", decay=Decay("year", 1.0, 1.5)), "decay.origin"),
        (Query("q", decay=Decay("seen", 1.0, 5)), "decay.origin"),
        (Query("q", decay=Decay("price", 1.0, math.inf)), "decay.origin"),
    ],
)
def test_what_does_not_fit_the_schema_names_its_field(query, field):
    with pytest.raises(InvalidFieldError) as error:
        check_boosting(query, SCHEMA)
    assert error.value.field.startswith(field)


def test_what_fits_the_schema_is_accepted():
    for decay in (Decay("seen", 1.0), Decay("seen", 1.0, NOW), Decay("year", 1.0, 5)):
        check_boosting(Query("q", decay=decay), SCHEMA)
