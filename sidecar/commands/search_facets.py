"""Facets on the command line: `--facet module`, `--facet year:3` for the three most frequent."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from datetime import UTC

from sidecar.errors import InvalidFieldError
from sidecar.v1 import filter_pb2, search_pb2


def add_facet_argument(parser: argparse.ArgumentParser) -> None:
    """Declares the argument."""
    parser.add_argument(
        "--facet",
        metavar="NAME",
        action="append",
        default=[],
        help="count the values of an attribute over all documents that --where lets pass; NAME:N "
        "for the N most frequent (10)",
    )


def parse_facets(given: Sequence[str]) -> list[search_pb2.FacetRequest]:
    """The requests. Raises InvalidFieldError; names are the server's to check."""
    return [_parse(one) for one in given]


def facet_lines(facets: Sequence[search_pb2.Facet]) -> Iterator[str]:
    """Each facet in one line: values and their counts, then what has none of them."""
    for facet in facets:
        counts = [f"{_text(one.value)} {one.count:,}" for one in facet.counts]
        if facet.other_count:
            counts.append(f"(others {facet.other_count:,})")
        if facet.missing_count:
            counts.append(f"(without {facet.missing_count:,})")
        yield f" {facet.attribute}: {', '.join(counts) or 'no documents'}"


def _parse(given: str) -> search_pb2.FacetRequest:
    name, colon, limit = given.partition(":")
    if not colon:
        return search_pb2.FacetRequest(attribute=name)
    if not limit.isdecimal():
        raise InvalidFieldError(f"--facet {given!r}", "write NAME or NAME:N, N a number")
    return search_pb2.FacetRequest(attribute=name, limit=int(limit))


def _text(value: filter_pb2.AttributeValue) -> str:
    kind = value.WhichOneof("value")
    if kind == "timestamp_value":
        return value.timestamp_value.ToDatetime(UTC).isoformat()
    if kind == "boolean_value":
        return "true" if value.boolean_value else "false"
    return str(getattr(value, kind)) if kind else ""
