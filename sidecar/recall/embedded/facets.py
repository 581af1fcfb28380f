"""Facets over all documents that match a filter, counted on sets of documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyroaring import BitMap

from sidecar.recall.embedded.columns import AttributeColumns
from sidecar.recall.embedded.filters import Attributes, attribute_names, matching
from sidecar.recall.facets import Bounds, check_facets, value_counts
from sidecar.recall.filters import check_filter
from sidecar.types import (
    AttributeType,
    Facet,
    FacetCount,
    FacetRange,
    FacetRequest,
    Filter,
    Schema,
)


def count_facets(
    requests: Sequence[FacetRequest],
    filter: Filter | None,
    columns: AttributeColumns,
    schema: Schema,
) -> tuple[Facet, ...]:
    """Facets over all documents that pass a filter, as they are stored, in the order asked.

    Raises InvalidFieldError, StorageError.
    """
    check_facets(requests, schema)
    names = frozenset(request.attribute for request in requests)
    if filter is not None:
        check_filter(filter, schema)
        names |= attribute_names(filter)
    with columns.asking(names) as attributes:
        passing = attributes.documents if filter is None else matching(filter, attributes)
        return matching_facets(requests, passing, attributes, schema.attribute_types())


def matching_facets(
    requests: Sequence[FacetRequest],
    matching: BitMap,
    attributes: Attributes,
    types: Mapping[str, AttributeType],
) -> tuple[Facet, ...]:
    """Checked facets of the documents `matching`, in the order asked."""
    return tuple(
        _of_ranges(request, matching, attributes)
        if request.ranges
        else _of_values(request, matching, attributes, types[request.attribute])
        for request in requests
    )


def _of_values(
    request: FacetRequest, matching: BitMap, attributes: Attributes, kind: AttributeType
) -> Facet:
    name = request.attribute
    best = attributes.most_frequent(name, matching, request.limit)
    if kind is AttributeType.STRING_LIST:
        strings = [value for value, _ in best]
        shown = len(attributes.one_of(name, strings) & matching) if strings else 0
    else:
        shown = sum(count for _, count in best)
    return _facet(name, value_counts(best, kind), shown, matching, attributes)


def _of_ranges(request: FacetRequest, matching: BitMap, attributes: Attributes) -> Facet:
    name = request.attribute
    sets = [_within(range, name, attributes) & matching for range in request.ranges]
    counts = (
        FacetCount(range, len(found)) for range, found in zip(request.ranges, sets, strict=True)
    )
    return _facet(name, tuple(counts), len(BitMap.union(*sets)), matching, attributes)


def _within(range: FacetRange, name: str, attributes: Attributes) -> BitMap:
    bounds = Bounds.of(range)
    return attributes.between(name, bounds.lower, bounds.upper, upper_inclusive=False)


def _facet(
    name: str,
    counts: tuple[FacetCount, ...],
    shown: int,
    matching: BitMap,
    attributes: Attributes,
) -> Facet:
    having = attributes.between(name, None, None).intersection_cardinality(matching)
    return Facet(name, counts, having - shown, len(matching) - having)
