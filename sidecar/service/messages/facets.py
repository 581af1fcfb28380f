"""search.proto: facets in, and their counts out."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.recall.facets import MAX_FACETS, MAX_LIMIT, MAX_RANGES
from sidecar.service.messages.checks import check_range
from sidecar.service.messages.filters import from_attribute, to_operand
from sidecar.types import Facet, FacetCount, FacetRange, FacetRequest, FacetScope
from sidecar.v1 import search_pb2

_SCOPES: dict[int, FacetScope] = {
    search_pb2.FACET_SCOPE_UNSPECIFIED: FacetScope.MATCHING,
    search_pb2.FACET_SCOPE_MATCHING: FacetScope.MATCHING,
    search_pb2.FACET_SCOPE_RECALLED: FacetScope.RECALLED,
}


def to_facets(messages: Sequence[search_pb2.FacetRequest], field: str) -> tuple[FacetRequest, ...]:
    """The facets of a request; attributes are checked with the schema. Raises InvalidFieldError and
    TooLargeError."""
    if len(messages) > MAX_FACETS:
        raise TooLargeError(field, f"has {len(messages)} facets: give at most {MAX_FACETS}")
    return tuple(_to_facet(one, f"{field}[{index}]") for index, one in enumerate(messages))


def from_facet(facet: Facet) -> search_pb2.Facet:
    """The message of a facet."""
    return search_pb2.Facet(
        attribute=facet.attribute,
        counts=[_from_count(one) for one in facet.counts],
        other_count=facet.other_count,
        missing_count=facet.missing_count,
        error_bound=facet.error_bound,
    )


def _to_facet(message: search_pb2.FacetRequest, field: str) -> FacetRequest:
    if message.scope not in _SCOPES:
        raise InvalidFieldError(f"{field}.scope", f"is {message.scope}, which is no FacetScope")
    ranges = _to_ranges(message.ranges, f"{field}.ranges")
    if ranges and message.HasField("limit"):
        raise InvalidFieldError(f"{field}.limit", "is for single values: not with `ranges`")
    if message.HasField("limit"):
        check_range(f"{field}.limit", message.limit, 1, MAX_LIMIT)
    limit = message.limit if message.HasField("limit") else FacetRequest(message.attribute).limit
    return FacetRequest(message.attribute, limit, ranges, _SCOPES[message.scope])


def _to_ranges(messages: Sequence[search_pb2.FacetRange], field: str) -> tuple[FacetRange, ...]:
    if len(messages) > MAX_RANGES:
        raise TooLargeError(field, f"has {len(messages)} ranges: give at most {MAX_RANGES}")
    return tuple(_to_range(one, f"{field}[{index}]") for index, one in enumerate(messages))


def _to_range(message: search_pb2.FacetRange, field: str) -> FacetRange:
    lower, upper = (
        to_operand(getattr(message, name), f"{field}.{name}") if message.HasField(name) else None
        for name in ("at_least", "less_than")
    )
    return FacetRange(lower, upper)


def _from_count(count: FacetCount) -> search_pb2.FacetCount:
    if not isinstance(count.of, FacetRange):
        return search_pb2.FacetCount(value=from_attribute(count.of), count=count.count)
    lower, upper = count.of.at_least, count.of.less_than
    told = search_pb2.FacetRange(
        at_least=None if lower is None else from_attribute(lower),
        less_than=None if upper is None else from_attribute(upper),
    )
    return search_pb2.FacetCount(range=told, count=count.count)
