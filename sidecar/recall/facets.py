"""Facets: what may be asked, and counts over a few documents, which serve every backend.

Counts over all documents that match a filter are the backend's (Collection.facets).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.recall.attributes import check_operand, nearest
from sidecar.recall.filters import RANGED
from sidecar.storage.rows import RowValue, from_row_value, to_row_value, to_row_values
from sidecar.types import (
    Attribute,
    AttributeType,
    Facet,
    FacetCount,
    FacetRange,
    FacetRequest,
    Schema,
)

MAX_FACETS = 16
MAX_LIMIT = 1000
MAX_RANGES = 64


def check_facets(requests: Sequence[FacetRequest], schema: Schema, path: str = "facets") -> None:
    """Raises InvalidFieldError naming the part at fault ("facets[1].limit")."""
    if len(requests) > MAX_FACETS:
        raise TooLargeError(path, f"has {len(requests)} facets: give at most {MAX_FACETS}")
    types = schema.attribute_types()
    for position, request in enumerate(requests):
        _check(request, types, f"{path}[{position}]")


def recalled_facets(
    requests: Sequence[FacetRequest],
    documents: Iterable[Mapping[str, Attribute]],
    schema: Schema,
) -> tuple[Facet, ...]:
    """Counts over some documents, given by their attributes; in the order asked."""
    held, types = list(documents), schema.attribute_types()
    return tuple(_count(request, held, types[request.attribute]) for request in requests)


@dataclass(frozen=True, slots=True)
class Bounds:
    """A range over values as they are stored: from `lower`, below `upper`; None is no bound."""

    lower: RowValue | None
    upper: RowValue | None

    @classmethod
    def of(cls, range: FacetRange) -> Bounds:
        """Those of a checked range."""
        lower, upper = range.at_least, range.less_than
        return cls(
            None if lower is None else to_row_value(lower),
            None if upper is None else to_row_value(upper),
        )

    def hold(self, value: RowValue) -> bool:
        """Whether a value, of the type of the bounds, lies within."""
        above = self.lower is None or value >= self.lower  # type: ignore[operator]
        return above and (self.upper is None or value < self.upper)  # type: ignore[operator]


def most_frequent(counts: Iterable[tuple[RowValue, int]], limit: int) -> list[tuple[RowValue, int]]:
    """The `limit` most frequent of (value, count), ties by value."""
    # The values of one attribute are of one type, so they compare.
    return sorted(counts, key=lambda each: (-each[1], each[0]))[:limit]


def value_counts(
    counts: Iterable[tuple[RowValue, int]], kind: AttributeType
) -> tuple[FacetCount, ...]:
    """Counts of stored values as they are told."""
    return tuple(FacetCount(from_row_value(value, kind), count) for value, count in counts)


def _count(
    request: FacetRequest, documents: Sequence[Mapping[str, Attribute]], kind: AttributeType
) -> Facet:
    name = request.attribute
    held = [to_row_values(each[name]) if name in each else [] for each in documents]
    having = [values for values in held if values]
    if request.ranges:
        bounds = [Bounds.of(range) for range in request.ranges]
        counts = tuple(
            FacetCount(range, sum(any(map(within.hold, values)) for values in having))
            for range, within in zip(request.ranges, bounds, strict=True)
        )
        other = sum(not any(b.hold(value) for b in bounds for value in v) for v in having)
    else:
        values = Counter(value for values in having for value in values)
        best = most_frequent(values.items(), request.limit)
        counts = value_counts(best, kind)
        other = sum({value for value, _ in best}.isdisjoint(values) for values in having)
    return Facet(name, counts, other, len(held) - len(having))


def _check(request: FacetRequest, types: Mapping[str, AttributeType], path: str) -> None:
    name = request.attribute
    if name not in types:
        raise InvalidFieldError(
            f"{path}.attribute", f"{name[:80]!r} is not an attribute: {nearest(name, types)}"
        )
    if not 1 <= request.limit <= MAX_LIMIT:
        raise InvalidFieldError(f"{path}.limit", f"is {request.limit}: give 1 to {MAX_LIMIT:,}")
    if len(request.ranges) > MAX_RANGES:
        count = len(request.ranges)
        raise TooLargeError(f"{path}.ranges", f"has {count} ranges: give at most {MAX_RANGES}")
    if request.ranges and types[name] not in RANGED:
        raise InvalidFieldError(
            f"{path}.ranges",
            f"{name!r} is of type {types[name]}: ranges need an integer, double or timestamp",
        )
    for position, range in enumerate(request.ranges):
        _check_range(range, types[name], f"{path}.ranges[{position}]")


def _check_range(range: FacetRange, kind: AttributeType, path: str) -> None:
    if range.at_least is None and range.less_than is None:
        raise InvalidFieldError(path, "has no bound: give a lower or an upper one")
    for name in ("at_least", "less_than"):
        bound = getattr(range, name)
        if bound is not None:
            check_operand(bound, kind, f"{path}.{name}")
