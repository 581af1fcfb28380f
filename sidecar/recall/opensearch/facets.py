"""Counts of attribute values: terms aggregations, and a filter for each range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sidecar.recall.filters import check_filter
from sidecar.recall.opensearch.layout import Layout
from sidecar.recall.opensearch.queries import Query, to_query
from sidecar.recall.opensearch.reading import Reader
from sidecar.types import (
    AttributeScalar,
    Facet,
    FacetCount,
    FacetRange,
    FacetRequest,
    Filter,
    Range,
    Schema,
)


def count_facets(
    reader: Reader,
    layout: Layout,
    schema: Schema,
    requests: Sequence[FacetRequest],
    filter: Filter | None,
) -> tuple[Facet, ...]:
    """The counts over all documents that pass the filter, in the order asked."""
    conditions = [layout.living]
    if filter is not None:
        check_filter(filter, schema)
        conditions.append(to_query(filter, layout))
    wanted = {str(n): _aggregation(request, layout) for n, request in enumerate(requests)}
    if not wanted:
        return ()
    body = {"query": {"bool": {"filter": conditions}}, "size": 0, "aggs": wanted}
    body["track_total_hits"] = True
    answer = reader.search(body)
    total = answer["hits"]["total"]["value"]
    counted = [
        _to_facet(request, answer["aggregations"][str(n)], total, layout)
        for n, request in enumerate(requests)
    ]
    others = _others(reader, layout, conditions, requests, counted)
    return tuple(
        Facet(one.attribute, one.counts, other, one.missing_count, one.error_bound)
        for one, other in zip(counted, others, strict=True)
    )


def _aggregation(request: FacetRequest, layout: Layout) -> Query:
    """The documents that have the attribute, and below them their values, or ranges."""
    path = layout.path(request.attribute)
    having: Query = {"filter": {"exists": {"field": path}}}
    if request.ranges:
        filters = [to_query(_to_range(request.attribute, each), layout) for each in request.ranges]
        having["aggs"] = {"ranges": {"filters": {"filters": filters}}}
    else:
        order = [{"_count": "desc"}, {"_key": "asc"}]
        terms = {"field": path, "size": request.limit, "order": order}
        having["aggs"] = {"values": {"terms": {**terms, "show_term_doc_count_error": True}}}
    return having


def _to_facet(
    request: FacetRequest, having: Mapping[str, Any], total: int, layout: Layout
) -> Facet:
    missing = total - having["doc_count"]
    if request.ranges:
        buckets = having["ranges"]["buckets"]
        counts = [
            FacetCount(range, bucket["doc_count"])
            for range, bucket in zip(request.ranges, buckets, strict=True)
        ]
        return Facet(request.attribute, tuple(counts), 0, missing)
    found = having["values"]
    counts = [
        FacetCount(value, bucket["doc_count"])
        for bucket in found["buckets"]
        if (value := layout.value(request.attribute, bucket["key"])) is not None
    ]
    bound = max(0, found["doc_count_error_upper_bound"])
    return Facet(request.attribute, tuple(counts), 0, missing, bound)


def _others(
    reader: Reader,
    layout: Layout,
    conditions: Sequence[Query],
    requests: Sequence[FacetRequest],
    counted: Sequence[Facet],
) -> list[int]:
    """Of each facet the documents that have the attribute, and no value that was counted."""
    wanted: Query = {}
    for number, (request, facet) in enumerate(zip(requests, counted, strict=True)):
        told = [_condition(request.attribute, each.of, layout) for each in facet.counts]
        exists = {"exists": {"field": layout.path(request.attribute)}}
        wanted[str(number)] = {"filter": {"bool": {"filter": [exists], "must_not": told}}}
    body = {"query": {"bool": {"filter": list(conditions)}}, "size": 0, "aggs": wanted}
    answer = reader.search(body)["aggregations"]
    return [answer[str(number)]["doc_count"] for number in range(len(requests))]


def _condition(attribute: str, of: AttributeScalar | FacetRange, layout: Layout) -> Query:
    if isinstance(of, FacetRange):
        return to_query(_to_range(attribute, of), layout)
    return {"term": {layout.path(attribute): {"value": layout.operand(attribute, of)}}}


def _to_range(attribute: str, range: FacetRange) -> Range:
    return Range(attribute, range.at_least, range.less_than, upper_inclusive=False)
