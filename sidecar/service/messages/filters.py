"""filter.proto: attribute values, and filters as trees.

Types, names and counts are checked in recall, which has the schema; here only what a filter of
plain values can no longer show, and its size before it is built.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.recall.filters import MAX_CONDITIONS, MAX_LEVELS, MAX_VALUES
from sidecar.types import (
    AllOf,
    AnyOf,
    Attribute,
    AttributeScalar,
    Equals,
    Filter,
    NoneOf,
    OneOf,
    Range,
)
from sidecar.v1 import filter_pb2

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JUNCTIONS: dict[str, type[AllOf] | type[AnyOf] | type[NoneOf]] = {
    "all_of": AllOf,
    "any_of": AnyOf,
    "none_of": NoneOf,
}


def to_filter(message: filter_pb2.Filter, field: str) -> Filter:
    """The filter of a message. Raises InvalidFieldError and TooLargeError."""
    return FilterReader(MAX_CONDITIONS * MAX_VALUES).read(message, field)


class FilterReader:
    """Reads one filter, or several that have their conditions and values counted together."""

    def __init__(self, max_values: int) -> None:
        self._max_values = max_values
        self._conditions = 0
        self._values = 0

    def read(self, message: filter_pb2.Filter, field: str, level: int = 1) -> Filter:
        """The filter of a message. Raises InvalidFieldError and TooLargeError."""
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise TooLargeError(field, f"is one condition too many: give at most {MAX_CONDITIONS}")
        if level > MAX_LEVELS:
            raise TooLargeError(field, f"is nested deeper than {MAX_LEVELS} levels")
        match message.WhichOneof("condition"):
            case "all_of" | "any_of" | "none_of" as name:
                return self._junction(name, getattr(message, name), f"{field}.{name}", level)
            case "equals":
                return _to_equals(message.equals, f"{field}.equals")
            case "one_of":
                return self._one_of(message.one_of, f"{field}.one_of")
            case "range":
                return _to_range(message.range, f"{field}.range")
        raise InvalidFieldError(
            field, "sets no condition: give one of all_of, any_of, none_of, equals, one_of, range"
        )

    def _junction(
        self, name: str, message: filter_pb2.FilterList, field: str, level: int
    ) -> Filter:
        return _JUNCTIONS[name](
            tuple(
                self.read(one, f"{field}[{index}]", level + 1)
                for index, one in enumerate(message.filters)
            )
        )

    def _one_of(self, message: filter_pb2.InFilter, field: str) -> OneOf:
        self._values += len(message.values)
        if len(message.values) > MAX_VALUES:
            raise TooLargeError(f"{field}.values", f"has more than {MAX_VALUES:,} values")
        if self._values > self._max_values:
            raise TooLargeError(
                f"{field}.values",
                f"is one of too many lists: give at most {self._max_values:,} values in all",
            )
        return _to_one_of(message, field)


def _to_one_of(message: filter_pb2.InFilter, field: str) -> OneOf:
    values = tuple(
        to_operand(value, f"{field}.values[{index}]") for index, value in enumerate(message.values)
    )
    return OneOf(message.attribute, values)


def _to_equals(message: filter_pb2.EqualsFilter, field: str) -> Equals:
    return Equals(message.attribute, to_operand(message.value, f"{field}.value"))


def _to_range(message: filter_pb2.RangeFilter, field: str) -> Range:
    lower, upper = message.WhichOneof("lower"), message.WhichOneof("upper")
    return Range(
        message.attribute,
        None if lower is None else to_operand(getattr(message, lower), f"{field}.{lower}"),
        None if upper is None else to_operand(getattr(message, upper), f"{field}.{upper}"),
        lower_inclusive=lower != "more_than",
        upper_inclusive=upper != "less_than",
    )


def to_operand(message: filter_pb2.AttributeValue, field: str) -> AttributeScalar:
    """The operand of a filter: one value, never a list."""
    if message.WhichOneof("value") == "string_list_value":
        raise InvalidFieldError(
            field, "is a list: give a string_value (one_of takes several of them)"
        )
    value = to_attribute(message, field)
    assert not isinstance(value, tuple)
    return value


def to_attribute(message: filter_pb2.AttributeValue, field: str) -> Attribute:
    """The value of an attribute."""
    match message.WhichOneof("value"):
        case "string_value":
            return message.string_value
        case "integer_value":
            return message.integer_value
        case "double_value":
            return message.double_value
        case "boolean_value":
            return message.boolean_value
        case "timestamp_value":
            return _to_datetime(message.timestamp_value, field)
        case "string_list_value":
            return tuple(message.string_list_value.values)
    raise InvalidFieldError(field, "has no value: set one of string_value, integer_value, ...")


def _to_datetime(message: Timestamp, field: str) -> datetime:
    if not 0 <= message.nanos < 1_000_000_000:
        raise InvalidFieldError(field, f"has {message.nanos} nanos: give 0 to 999,999,999")
    try:
        return EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError:
        raise InvalidFieldError(field, "is outside the years 1 to 9999") from None


def from_attribute(value: Attribute) -> filter_pb2.AttributeValue:
    """The message of an attribute's value."""
    match value:
        case bool():
            return filter_pb2.AttributeValue(boolean_value=value)
        case int():
            return filter_pb2.AttributeValue(integer_value=value)
        case float():
            return filter_pb2.AttributeValue(double_value=value)
        case str():
            return filter_pb2.AttributeValue(string_value=value)
        case datetime():
            return filter_pb2.AttributeValue(timestamp_value=_from_datetime(value))
        case tuple():
            return filter_pb2.AttributeValue(string_list_value=filter_pb2.StringList(values=value))


def _from_datetime(value: datetime) -> Timestamp:
    since = value - EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1000)
