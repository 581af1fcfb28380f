"""Conditions on the command line become filters of the attribute's type."""

from datetime import UTC, datetime

import pytest

from sidecar.commands.filters import parse_filter, to_value
from sidecar.errors import InvalidFieldError
from sidecar.v1 import filter_pb2

TYPES = {
    "module": filter_pb2.ATTRIBUTE_TYPE_STRING,
    "year": filter_pb2.ATTRIBUTE_TYPE_INTEGER,
    "price": filter_pb2.ATTRIBUTE_TYPE_DOUBLE,
    "sold": filter_pb2.ATTRIBUTE_TYPE_BOOLEAN,
    "seen": filter_pb2.ATTRIBUTE_TYPE_TIMESTAMP,
    "tags": filter_pb2.ATTRIBUTE_TYPE_STRING_LIST,
}


def test_no_condition_is_no_filter() -> None:
    assert parse_filter([], TYPES) is None


def test_equals() -> None:
    parsed = parse_filter(["module=asyncio.tasks"], TYPES)
    assert parsed is not None
    assert parsed.equals.attribute == "module"
    assert parsed.equals.value.string_value == "asyncio.tasks"


def test_alternatives_and_not() -> None:
    parsed = parse_filter(["year != 1,2"], TYPES)
    assert parsed is not None
    (inner,) = parsed.none_of.filters
    assert [value.integer_value for value in inner.one_of.values] == [1, 2]


@pytest.mark.parametrize(
    ("operator", "bound"),
    [(">=", "at_least"), (">", "more_than"), ("<=", "at_most"), ("<", "less_than")],
)
def test_bounds(operator: str, bound: str) -> None:
    parsed = parse_filter([f"price{operator}2.5"], TYPES)
    assert parsed is not None
    assert getattr(parsed.range, bound).double_value == 2.5


def test_several_conditions_must_all_hold() -> None:
    parsed = parse_filter(["sold=true", "tags=a"], TYPES)
    assert parsed is not None
    sold, tags = parsed.all_of.filters
    assert sold.equals.value.boolean_value is True
    assert tags.equals.value.string_value == "a"


def test_timestamps_are_utc_without_an_offset() -> None:
    value = to_value("2024-05-01T12:00:00", TYPES["seen"], "seen")
    assert value.timestamp_value.ToDatetime(UTC) == datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("module", "write NAME=VALUE"),
        ("modul=x", "no attribute 'modul'; known: module, year"),
        ("year=soon", '"soon" is not of type integer'),
        ("sold=perhaps", '"perhaps" is not of type boolean'),
        ("seen>tomorrow", '"tomorrow" is not of type timestamp'),
    ],
)
def test_a_bad_condition_is_named(condition: str, message: str) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        parse_filter([condition], TYPES)
    assert message in str(caught.value)
    assert repr(condition) in str(caught.value)
