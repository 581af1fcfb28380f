"""search.proto: what a search wants changed of the order: boosts, decay, grouping, diversity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.service.messages.checks import check_range
from sidecar.service.messages.filters import FilterReader, to_operand
from sidecar.types import Boost, Decay, Diversity, Grouping
from sidecar.v1 import search_pb2

MAX_BOOSTS = 32
MAX_BOOST_VALUES = 4096
MAX_FACTOR = 16.0
MAX_PER_GROUP = 100
MAX_WINDOW = 200


def to_boosts(messages: Sequence[search_pb2.Boost], field: str) -> tuple[Boost, ...]:
    """The boosts of a request, their filters counted together. Raises InvalidFieldError and
    TooLargeError."""
    if len(messages) > MAX_BOOSTS:
        raise TooLargeError(field, f"has {len(messages)} boosts: give at most {MAX_BOOSTS}")
    reader = FilterReader(MAX_BOOST_VALUES)
    return tuple(_to_boost(one, f"{field}[{index}]", reader) for index, one in enumerate(messages))


def _to_boost(message: search_pb2.Boost, field: str, reader: FilterReader) -> Boost:
    if not 0.0 < message.factor <= MAX_FACTOR:
        raise InvalidFieldError(
            f"{field}.factor", f"is {message.factor:g}: give more than 0, at most {MAX_FACTOR:g}"
        )
    return Boost(reader.read(message.filter, f"{field}.filter"), message.factor)


def to_decay(message: search_pb2.Decay, field: str) -> Decay:
    """The decay of a request; its attribute is checked with the schema. Raises
    InvalidFieldError."""
    if not (0.0 < message.half_life < math.inf):
        raise InvalidFieldError(f"{field}.half_life", f"is {message.half_life:g}: give more than 0")
    if not (0.0 <= message.offset < math.inf):
        raise InvalidFieldError(f"{field}.offset", f"is {message.offset:g}: give at least 0")
    _check_share(f"{field}.floor", message.floor)
    missing = message.missing if message.HasField("missing") else 1.0
    _check_share(f"{field}.missing", missing)
    return Decay(
        attribute=message.attribute,
        half_life=message.half_life,
        origin=_to_origin(message, f"{field}.origin"),
        offset=message.offset,
        floor=message.floor,
        missing=missing,
    )


def _to_origin(message: search_pb2.Decay, field: str) -> int | float | datetime | None:
    if not message.HasField("origin"):
        return None
    value = to_operand(message.origin, field)
    if isinstance(value, bool | str):
        raise InvalidFieldError(
            field, "is no point to decay from: set timestamp_value, integer_value or double_value"
        )
    return value


def to_grouping(message: search_pb2.Grouping, field: str) -> Grouping:
    """The grouping of a request; its attribute is checked with the schema. Raises
    InvalidFieldError."""
    if not message.HasField("per_group"):
        return Grouping(message.attribute)
    check_range(f"{field}.per_group", message.per_group, 1, MAX_PER_GROUP)
    return Grouping(message.attribute, message.per_group)


def to_diversity(message: search_pb2.Diversity, field: str) -> Diversity:
    """The diversity of a request. Raises InvalidFieldError."""
    default = Diversity()
    relevance = message.relevance if message.HasField("relevance") else default.relevance
    window = message.window if message.HasField("window") else default.window
    _check_share(f"{field}.relevance", relevance)
    check_range(f"{field}.window", window, 2, MAX_WINDOW)
    return Diversity(relevance, window)


def _check_share(field: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise InvalidFieldError(field, f"is {value:g}: give 0 to 1")
