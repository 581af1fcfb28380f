"""Facets over a few documents against Counter, and what is refused."""

from __future__ import annotations

import pytest
from counting import counted, requests
from hypothesis import given, settings
from hypothesis import strategies as st
from recalling import SCHEMA, attributes

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.recall.facets import check_facets, recalled_facets
from sidecar.types import FacetCount, FacetRange, FacetRequest


@settings(max_examples=300)
@given(st.lists(requests, max_size=3), st.lists(attributes, max_size=12))
def test_counts_are_those_of_a_counter(asked, documents):
    wanted = tuple(counted(request, documents) for request in asked)
    assert recalled_facets(asked, documents, SCHEMA) == wanted


def test_values_come_as_they_are_declared():
    documents = [{"new": True, "price": -0.0}, {"new": False, "price": 0.0}]
    asked = [FacetRequest("new"), FacetRequest("price")]
    new, price = recalled_facets(asked, documents, SCHEMA)
    assert new.counts == (FacetCount(False, 1), FacetCount(True, 1))
    assert type(new.counts[0].of) is bool
    assert price.counts == (FacetCount(0.0, 2),)


def test_a_list_without_strings_is_missing_and_one_of_many_counts_once():
    documents = [{"tags": ()}, {"tags": ("red", "red", "blue")}, {}]
    (tags,) = recalled_facets([FacetRequest("tags", limit=1)], documents, SCHEMA)
    assert tags.counts == (FacetCount("blue", 1),)
    assert (tags.other_count, tags.missing_count) == (0, 2)


@pytest.mark.parametrize(
    ("request_", "field", "says"),
    [
        (FacetRequest("yaer"), "facets[1].attribute", "did you mean 'year'"),
        (FacetRequest("year", limit=0), "facets[1].limit", "give 1 to 1,000"),
        (FacetRequest("year", limit=1001), "facets[1].limit", "is 1001"),
        (FacetRequest("colour", ranges=(FacetRange("a"),)), "facets[1].ranges", "type string"),
        (FacetRequest("year", ranges=(FacetRange(),)), "facets[1].ranges[0]", "no bound"),
        (
            FacetRequest("year", ranges=(FacetRange(1), FacetRange(1, "2"))),
            "facets[1].ranges[1].less_than",
            "is of type string",
        ),
        (FacetRequest("price", ranges=(FacetRange(1),)), "facets[1].ranges[0].at_least", "integer"),
    ],
)
def test_what_is_refused(request_, field, says):
    with pytest.raises(InvalidFieldError) as caught:
        check_facets([FacetRequest("colour"), request_], SCHEMA)
    assert caught.value.field == field
    assert says in caught.value.description


def test_too_much_is_too_large():
    check_facets([FacetRequest("year", 1000, (FacetRange(1),) * 64)] * 16, SCHEMA)
    with pytest.raises(TooLargeError, match="at most 16"):
        check_facets([FacetRequest("year")] * 17, SCHEMA)
    with pytest.raises(TooLargeError, match="at most 64"):
        check_facets([FacetRequest("year", ranges=(FacetRange(1),) * 65)], SCHEMA)
