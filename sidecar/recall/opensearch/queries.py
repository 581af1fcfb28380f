"""What OpenSearch is asked, as JSON: filters, both legs, counts. Pure.

The two legs are two searches, never one of its hybrid queries: the sidecar fuses itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sidecar.types import (
    AllOf,
    AnyOf,
    AttributeScalar,
    Equals,
    Filter,
    NoneOf,
    OneOf,
    Range,
)

Query = dict[str, Any]

# Of the 1,024 clauses that a query may have; a filter's conditions get the rest.
MOST_TERMS = 700
# index.max_result_window, and the most that a k-NN query may ask for.
MOST_HITS = 10_000
# Hits beyond those needed, so that ties are cut by doc_id; and the least candidates that a search
# of the graph keeps.
TIE_MARGIN = 16
LEAST_NEIGHBOURS = 200


class AttributePlaces(Protocol):
    """Where an index has the attributes, and how it writes their values."""

    def path(self, attribute: str) -> str:
        """The field of the index."""

    def operand(self, attribute: str, value: AttributeScalar) -> object:
        """A value to compare with."""


def to_query(filter: Filter, places: AttributePlaces) -> Query:
    """A checked filter. A document without the attribute matches no condition over it."""
    match filter:
        case AllOf(filters):
            return {"bool": {"filter": [to_query(each, places) for each in filters]}}
        case AnyOf(filters):
            below = [to_query(each, places) for each in filters]
            return {"bool": {"should": below, "minimum_should_match": 1}}
        case NoneOf(filters):
            return {"bool": {"must_not": [to_query(each, places) for each in filters]}}
        case Equals(attribute, value):
            operand = places.operand(attribute, value)
            return {"term": {places.path(attribute): {"value": operand}}}
        case OneOf(attribute, values):
            operands = [places.operand(attribute, value) for value in values]
            return {"terms": {places.path(attribute): operands}}
        case Range():
            return {"range": {places.path(filter.attribute): _bounds(filter, places)}}


def any_term(terms: Mapping[tuple[str, str], float]) -> Query:
    """Documents with any of (field, term), by the sum of weight times BM25."""
    kept = sorted(terms.items(), key=lambda each: (-each[1], -len(each[0][1]), each[0]))
    clauses = [
        {"term": {field: {"value": term, "boost": weight}}}
        for (field, term), weight in kept[:MOST_TERMS]
    ]
    return {"bool": {"should": clauses, "minimum_should_match": 1}}


def weighted(terms: Mapping[str, Counter[str]], weights: Mapping[str, float]) -> Query | None:
    """`any_term` of the terms of each field, with the field's weight; None if there are none."""
    clauses = {
        (field, term): weights[field] * count
        for field, counts in terms.items()
        for term, count in counts.items()
        if weights[field] > 0.0
    }
    return any_term(clauses) if clauses else None


def lexical_search(text_query: Query, filter: Query | None, depth: int) -> Query:
    """The body of a search of the lexical leg."""
    whole = text_query
    if filter is not None:
        whole = {"bool": {"must": [text_query], "filter": [filter]}}
    return {"query": whole, "size": min(depth + TIE_MARGIN, MOST_HITS)}


def dense_search(field: str, vector: Sequence[float], filter: Query | None, depth: int) -> Query:
    """The body of a search of the dense leg: the filter cuts while the graph is searched."""
    size = min(depth + TIE_MARGIN, MOST_HITS)
    neighbours: Query = {"vector": vector, "k": min(max(size, LEAST_NEIGHBOURS), MOST_HITS)}
    if filter is not None:
        neighbours["filter"] = filter
    return {"query": {"knn": {field: neighbours}}, "size": size}


def within(body: Query, timeout_seconds: float, sort_field: str | None) -> Query:
    """A search that gives ids and scores alone, and what it has once its time is over.

    With a `sort_field`, equal scores are in its order; else in that of the index.
    """
    milliseconds = max(1, math.floor(timeout_seconds * 1000.0))
    limits = {"timeout": f"{milliseconds}ms", "track_total_hits": False, "_source": False}
    if sort_field is None:
        return {**body, **limits}
    sort = [{"_score": "desc"}, {sort_field: "asc"}]
    return {**body, **limits, "sort": sort, "stored_fields": "_none_"}


def to_cosine(score: float) -> float:
    """Of a score in the space "cosinesimil", which is (1 + cosine) / 2."""
    return 2.0 * score - 1.0


def _bounds(range: Range, places: AttributePlaces) -> dict[str, object]:
    bounds: dict[str, object] = {}
    if range.lower is not None:
        name = "gte" if range.lower_inclusive else "gt"
        bounds[name] = places.operand(range.attribute, range.lower)
    if range.upper is not None:
        name = "lte" if range.upper_inclusive else "lt"
        bounds[name] = places.operand(range.attribute, range.upper)
    return bounds
