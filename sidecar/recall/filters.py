"""What a filter must be, by the schema, and what it means; the limits are those of filter.proto."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.recall.attributes import check_operand, nearest
from sidecar.storage.rows import RowValue, to_row_value, to_row_values
from sidecar.types import (
    AllOf,
    AnyOf,
    Attribute,
    AttributeScalar,
    AttributeType,
    Equals,
    Filter,
    NoneOf,
    OneOf,
    Range,
    Schema,
)

Matcher = Callable[[Mapping[str, Attribute]], bool]

MAX_CONDITIONS = 256
MAX_LEVELS = 16
MAX_VALUES = 1024

# What has an order that a range is in.
RANGED = (AttributeType.INTEGER, AttributeType.DOUBLE, AttributeType.TIMESTAMP)
_LIST_NAMES: dict[type, str] = {AllOf: "all_of", AnyOf: "any_of", NoneOf: "none_of"}


def check_filter(filter: Filter, schema: Schema, path: str = "filter") -> None:
    """Raises InvalidFieldError naming the part at fault ("filter.all_of[1].equals.attribute")."""
    conditions = _check(filter, schema.attribute_types(), path, level=1)
    if conditions > MAX_CONDITIONS:
        raise TooLargeError(path, f"has {conditions} conditions: give at most {MAX_CONDITIONS}")


def matcher_of(filter: Filter) -> Matcher:
    """Whether documents match a checked filter, as recall would find, by their attributes.

    What does not depend on the document is worked out once, here.
    """
    match filter:
        case AllOf(filters):
            every = [matcher_of(each) for each in filters]
            return lambda attributes: all(matches(attributes) for matches in every)
        case AnyOf(filters):
            some = [matcher_of(each) for each in filters]
            return lambda attributes: any(matches(attributes) for matches in some)
        case NoneOf(filters):
            none = [matcher_of(each) for each in filters]
            return lambda attributes: not any(matches(attributes) for matches in none)
        case Equals(attribute, value):
            return _one_of_matcher(attribute, (value,))
        case OneOf(attribute, values):
            return _one_of_matcher(attribute, values)
        case Range():
            return _range_matcher(filter)


def _one_of_matcher(attribute: str, values: Sequence[AttributeScalar]) -> Matcher:
    wanted = frozenset(map(to_row_value, values))
    return lambda attributes: not wanted.isdisjoint(_held(attributes, attribute))


def _range_matcher(range: Range) -> Matcher:
    lower = -math.inf if range.lower is None else _number(range.lower)
    upper = math.inf if range.upper is None else _number(range.upper)
    above = operator.ge if range.lower_inclusive or range.lower is None else operator.gt
    below = operator.le if range.upper_inclusive or range.upper is None else operator.lt
    return lambda attributes: any(
        above(value, lower) and below(value, upper) for value in _held(attributes, range.attribute)
    )


def _held(attributes: Mapping[str, Attribute], name: str) -> list[RowValue]:
    """The values that a document is found by, as indexes keep them."""
    value = attributes.get(name)
    return [] if value is None else to_row_values(value)


def _number(value: AttributeScalar) -> int | float:
    row_value = to_row_value(value)
    assert not isinstance(row_value, str)
    return row_value


def _check(filter: Filter, types: dict[str, AttributeType], path: str, level: int) -> int:
    """Checks a filter and all below it; returns how many conditions these are."""
    if level > MAX_LEVELS:
        raise TooLargeError(path, f"is nested deeper than {MAX_LEVELS} levels")
    match filter:
        case AllOf(filters) | AnyOf(filters) | NoneOf(filters):
            here = f"{path}.{_LIST_NAMES[type(filter)]}"
            if not filters:
                raise InvalidFieldError(here, "is empty: give at least one filter")
            below = [
                _check(each, types, f"{here}[{position}]", level + 1)
                for position, each in enumerate(filters)
            ]
            return 1 + sum(below)
        case Equals(attribute, value):
            kind = _check_attribute(attribute, types, f"{path}.equals")
            check_operand(value, kind, f"{path}.equals.value")
        case OneOf(attribute, values):
            kind = _check_attribute(attribute, types, f"{path}.one_of")
            _check_values(values, kind, f"{path}.one_of.values")
        case Range():
            _check_range(filter, types, f"{path}.range")
    return 1


def _check_attribute(name: str, types: dict[str, AttributeType], path: str) -> AttributeType:
    if name not in types:
        raise InvalidFieldError(
            f"{path}.attribute", f"{name[:80]!r} is not an attribute: {nearest(name, types)}"
        )
    return types[name]


def _check_values(values: Sequence[AttributeScalar], kind: AttributeType, path: str) -> None:
    if not values:
        raise InvalidFieldError(path, "is empty: give at least one value")
    if len(values) > MAX_VALUES:
        raise TooLargeError(path, f"has {len(values)} values: give at most {MAX_VALUES}")
    for position, value in enumerate(values):
        check_operand(value, kind, f"{path}[{position}]")


def _check_range(range: Range, types: dict[str, AttributeType], path: str) -> None:
    kind = _check_attribute(range.attribute, types, path)
    if kind not in RANGED:
        raise InvalidFieldError(
            f"{path}.attribute",
            f"{range.attribute!r} is of type {kind}: a range needs an integer, double or timestamp",
        )
    if range.lower is None and range.upper is None:
        raise InvalidFieldError(path, "has no bound: give a lower or an upper one")
    if range.lower is not None:
        name = "at_least" if range.lower_inclusive else "more_than"
        check_operand(range.lower, kind, f"{path}.{name}")
    if range.upper is not None:
        name = "at_most" if range.upper_inclusive else "less_than"
        check_operand(range.upper, kind, f"{path}.{name}")
