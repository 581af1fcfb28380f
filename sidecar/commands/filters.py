"""Filters on the command line: `--where module=asyncio`, `year>=2020`, `kind!=class,method`.

Several conditions must all hold. A comma separates alternatives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf import timestamp_pb2

from sidecar.errors import InvalidFieldError
from sidecar.v1 import collection_pb2, filter_pb2

_CONDITION = re.compile(r"([A-Za-z]\w*)\s*(>=|<=|!=|=|>|<)\s*(.*)", re.DOTALL)
_BOUNDS = {">=": "at_least", ">": "more_than", "<=": "at_most", "<": "less_than"}
Types = Mapping[str, "filter_pb2.AttributeType"]


def attribute_types(schema: collection_pb2.Schema) -> dict[str, filter_pb2.AttributeType]:
    """Types by attribute name."""
    return {attribute.name: attribute.type for attribute in schema.attributes}


def parse_filter(conditions: Sequence[str], types: Types) -> filter_pb2.Filter | None:
    """All `conditions` as one filter; None without any. Raises InvalidFieldError naming the one."""
    parsed = [_parse_condition(condition, types) for condition in conditions]
    if len(parsed) <= 1:
        return parsed[0] if parsed else None
    return filter_pb2.Filter(all_of=filter_pb2.FilterList(filters=parsed))


def _parse_condition(condition: str, types: Types) -> filter_pb2.Filter:
    match = _CONDITION.fullmatch(condition.strip())
    if match is None:
        raise InvalidFieldError(f"--where {condition!r}", "write NAME=VALUE, or !=, >=, <=, >, <")
    name, operator, text = match.groups()
    if name not in types:
        known = ", ".join(types) or "none"
        raise InvalidFieldError(f"--where {condition!r}", f"no attribute {name!r}; known: {known}")
    if operator in _BOUNDS:
        bound = {_BOUNDS[operator]: to_value(text, types[name], f"--where {condition!r}")}
        return filter_pb2.Filter(range=filter_pb2.RangeFilter(attribute=name, **bound))
    values = [to_value(t, types[name], f"--where {condition!r}") for t in text.split(",")]
    equals = _equals(name, values)
    if operator == "=":
        return equals
    return filter_pb2.Filter(none_of=filter_pb2.FilterList(filters=[equals]))


def _equals(name: str, values: list[filter_pb2.AttributeValue]) -> filter_pb2.Filter:
    if len(values) == 1:
        return filter_pb2.Filter(equals=filter_pb2.EqualsFilter(attribute=name, value=values[0]))
    return filter_pb2.Filter(one_of=filter_pb2.InFilter(attribute=name, values=values))


def to_value(
    value: Any, type_: filter_pb2.AttributeType, where: str, in_document: bool = False
) -> filter_pb2.AttributeValue:
    """`value`, text or a JSON value, as a value of `type_`. Raises InvalidFieldError at `where`."""
    try:
        if type_ == filter_pb2.ATTRIBUTE_TYPE_STRING_LIST and in_document:
            values = value if isinstance(value, list) else str(value).split("|")
            strings = filter_pb2.StringList(values=[str(one) for one in values])
            return filter_pb2.AttributeValue(string_list_value=strings)
        return _scalar(value, type_)
    except (ValueError, TypeError) as error:
        name = filter_pb2.AttributeType.Name(type_).removeprefix("ATTRIBUTE_TYPE_").lower()
        raise InvalidFieldError(where, f"{json.dumps(value)} is not of type {name}") from error


def _scalar(value: Any, type_: filter_pb2.AttributeType) -> filter_pb2.AttributeValue:
    if type_ == filter_pb2.ATTRIBUTE_TYPE_INTEGER:
        return filter_pb2.AttributeValue(integer_value=_integer(value))
    if type_ == filter_pb2.ATTRIBUTE_TYPE_DOUBLE:
        return filter_pb2.AttributeValue(double_value=float(value))
    if type_ == filter_pb2.ATTRIBUTE_TYPE_BOOLEAN:
        return filter_pb2.AttributeValue(boolean_value=_boolean(value))
    if type_ == filter_pb2.ATTRIBUTE_TYPE_TIMESTAMP:
        return filter_pb2.AttributeValue(timestamp_value=_timestamp(value))
    if not isinstance(value, str):
        raise TypeError
    return filter_pb2.AttributeValue(string_value=value)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError
    return int(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "false": False, "1": True, "0": False}
    if str(value).lower() not in known:
        raise ValueError
    return known[str(value).lower()]


def _timestamp(value: Any) -> timestamp_pb2.Timestamp:
    """ISO 8601, as UTC where no offset is given."""
    moment = datetime.fromisoformat(value)
    timestamp = timestamp_pb2.Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
