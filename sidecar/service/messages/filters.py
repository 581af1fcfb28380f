"""filter.proto: attribute values, and filters as trees. The schema is checked in recall."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.service.messages.checks import check_bytes, check_count
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

MAX_STRING_BYTES = 1024
MAX_LIST_STRINGS = 64
MAX_OPERANDS = 1024
MAX_CONDITIONS = 256
MAX_LEVELS = 16
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JUNCTIONS: dict[str, type[AllOf] | type[AnyOf] | type[NoneOf]] = {
    "all_of": AllOf,
    "any_of": AnyOf,
    "none_of": NoneOf,
}


def to_filter(message: filter_pb2.Filter, field: str) -> Filter:
    """The filter of a message. Raises InvalidFieldError and TooLargeError."""
    return _Reading().read(message, field, 1)


class _Reading:
    """One pass over a filter that counts its conditions."""

    def __init__(self) -> None:
        self._conditions = 0

    def read(self, message: filter_pb2.Filter, field: str, level: int) -> Filter:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise TooLargeError(field, f"is condition {MAX_CONDITIONS + 1}: send {MAX_CONDITIONS}")
        if level > MAX_LEVELS:
            raise TooLargeError(field, f"is level {level}; at most {MAX_LEVELS} are accepted")
        match message.WhichOneof("condition"):
            case "all_of" | "any_of" | "none_of" as name:
                return self._junction(name, getattr(message, name), f"{field}.{name}", level)
            case "equals":
                return _to_equals(message.equals, f"{field}.equals")
            case "one_of":
                return _to_one_of(message.one_of, f"{field}.one_of")
            case "range":
                return _to_range(message.range, f"{field}.range")
        raise InvalidFieldError(
            field, "sets no condition: give one of all_of, any_of, none_of, equals, one_of, range"
        )

    def _junction(
        self, name: str, message: filter_pb2.FilterList, field: str, level: int
    ) -> Filter:
        check_count(field, len(message.filters), MAX_CONDITIONS, "filters")
        return _JUNCTIONS[name](
            tuple(
                self.read(one, f"{field}[{index}]", level + 1)
                for index, one in enumerate(message.filters)
            )
        )


def _to_equals(message: filter_pb2.EqualsFilter, field: str) -> Equals:
    check_attribute(message.attribute, f"{field}.attribute")
    return Equals(message.attribute, to_operand(message.value, f"{field}.value"))


def _to_one_of(message: filter_pb2.InFilter, field: str) -> OneOf:
    check_attribute(message.attribute, f"{field}.attribute")
    check_count(f"{field}.values", len(message.values), MAX_OPERANDS, "values")
    values = tuple(
        to_operand(value, f"{field}.values[{index}]") for index, value in enumerate(message.values)
    )
    return OneOf(message.attribute, values)


def _to_range(message: filter_pb2.RangeFilter, field: str) -> Range:
    check_attribute(message.attribute, f"{field}.attribute")
    lower, upper = message.WhichOneof("lower"), message.WhichOneof("upper")
    if lower is None and upper is None:
        raise InvalidFieldError(field, "has no bound: give a lower or an upper one")
    return Range(
        message.attribute,
        None if lower is None else to_operand(getattr(message, lower), f"{field}.{lower}"),
        None if upper is None else to_operand(getattr(message, upper), f"{field}.{upper}"),
        lower_inclusive=lower != "more_than",
        upper_inclusive=upper != "less_than",
    )


def check_attribute(name: str, field: str) -> None:
    """Raises unless a text can be the name of an attribute."""
    if not name:
        raise InvalidFieldError(field, "is empty: name an attribute")
    check_bytes(field, name, MAX_STRING_BYTES)


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
            check_bytes(field, message.string_value, MAX_STRING_BYTES)
            return message.string_value
        case "integer_value":
            return message.integer_value
        case "double_value":
            if not math.isfinite(message.double_value):
                raise InvalidFieldError(field, f"is {message.double_value}: give a finite value")
            return message.double_value
        case "boolean_value":
            return message.boolean_value
        case "timestamp_value":
            return _to_datetime(message.timestamp_value, field)
        case "string_list_value":
            return _to_strings(message.string_list_value, field)
    raise InvalidFieldError(field, "has no value: set one of string_value, integer_value, ...")


def _to_strings(message: filter_pb2.StringList, field: str) -> tuple[str, ...]:
    if len(message.values) > MAX_LIST_STRINGS:
        raise TooLargeError(
            field, f"has {len(message.values):,} strings; at most {MAX_LIST_STRINGS} are accepted"
        )
    for index, value in enumerate(message.values):
        check_bytes(f"{field}.values[{index}]", value, MAX_STRING_BYTES)
    return tuple(message.values)


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
    return Timestamp(
        seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1000
    )
