"""What `sidecar search` may change of the order: boosts, recency, groups, variety."""

from __future__ import annotations

import argparse
from typing import Any

from sidecar.commands.filters import Types, parse_filter
from sidecar.errors import InvalidFieldError
from sidecar.v1 import search_pb2

SECONDS_A_DAY = 86_400.0


def add_order_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares them."""
    parser.add_argument(
        "--boost",
        metavar=("CONDITION", "FACTOR"),
        nargs=2,
        action="append",
        default=[],
        help="multiply the fused scores of documents that match, a condition as for --where",
    )
    parser.add_argument(
        "--recent",
        metavar=("NAME", "DAYS"),
        nargs=2,
        help="halve fused scores for each so many days since a timestamp attribute",
    )
    parser.add_argument(
        "--group-by", metavar="NAME[:N]", help="at most N hits (1) of each value of an attribute"
    )
    parser.add_argument(
        "--diversity",
        metavar="RELEVANCE",
        type=float,
        help="reorder the first hits for variety: 0 (variety alone) to 1 (the order as it was)",
    )


def order_fields(arguments: argparse.Namespace, types: Types) -> dict[str, Any]:
    """The fields of a SearchRequest. Raises InvalidFieldError naming the argument."""
    fields: dict[str, Any] = {
        "boosts": [_to_boost(condition, text, types) for condition, text in arguments.boost]
    }
    if arguments.recent is not None:
        name, days = arguments.recent
        half_life = SECONDS_A_DAY * _to_number("--recent", days)
        fields["decay"] = search_pb2.Decay(attribute=name, half_life=half_life)
    if arguments.group_by is not None:
        fields["grouping"] = _to_grouping(arguments.group_by)
    if arguments.diversity is not None:
        fields["diversity"] = search_pb2.Diversity(relevance=arguments.diversity)
    return fields


def _to_boost(condition: str, factor: str, types: Types) -> search_pb2.Boost:
    return search_pb2.Boost(
        filter=parse_filter([condition], types), factor=_to_number("--boost", factor)
    )


def _to_grouping(text: str) -> search_pb2.Grouping:
    name, colon, number = text.partition(":")
    if colon and not number.isdecimal():
        raise InvalidFieldError("--group-by", f"{text!r}: write NAME, or NAME:N with a number")
    return search_pb2.Grouping(attribute=name, per_group=int(number) if colon else None)


def _to_number(argument: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidFieldError(argument, f"{text!r} is no number") from None
