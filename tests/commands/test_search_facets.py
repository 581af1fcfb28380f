"""`sidecar search --facet`: what is asked for, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.commands.search_facets import facet_lines, parse_facets
from sidecar.errors import InvalidFieldError
from sidecar.v1.filter_pb2 import AttributeValue
from sidecar.v1.search_pb2 import Facet, FacetCount, FacetRequest


def test_a_facet_is_a_name_and_how_many_values() -> None:
    asked = parse_facets(["year", "colour:3"])
    assert asked == [FacetRequest(attribute="year"), FacetRequest(attribute="colour", limit=3)]
    with pytest.raises(InvalidFieldError, match="NAME:N"):
        parse_facets(["year:many"])


def test_values_are_printed_as_they_are_written_in_conditions() -> None:
    values = [
        AttributeValue(string_value="red"),
        AttributeValue(boolean_value=True),
        AttributeValue(double_value=2.5),
        AttributeValue(timestamp_value=Timestamp(seconds=0)),
    ]
    counts = [FacetCount(value=value, count=1000 - i) for i, value in enumerate(values)]
    facet = Facet(attribute="a", counts=counts, other_count=4, missing_count=5)
    assert list(facet_lines([facet, Facet(attribute="b")])) == [
        " a: red 1,000, true 999, 2.5 998, 1970-01-01T00:00:00+00:00 997, (others 4), (without 5)",
        " b: no documents",
    ]


def test_search_prints_them_once_after_the_last_ranking(sidecar, server, tmp_path: Path) -> None:
    lines = [
        json.dumps({"_id": f"d{n}", "text": "a word", "metadata": {"year": 2000 + n % 10}})
        for n in range(30)
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    target = ("--to", server.address, "--collection", "facets")
    done = sidecar("index", tmp_path, *target, "--create", "--attribute", "year:integer")
    assert done.returncode == 0, done.stderr
    where = ("--on", server.address, "--collection", "facets", "--where", "year>=2007")
    found = sidecar("search", "word number", *where, "--facet", "year:2", "--pages", "2", "--top=3")
    assert found.returncode == 0, found.stderr
    lines = [line for line in found.stdout.splitlines() if line.startswith(" year:")]
    assert lines == [" year: 2007 3, 2008 3, (others 3)"]
    refused = sidecar("search", "word", *where, "--facet", "yaer")
    assert refused.returncode == 2
    assert "did you mean 'year'" in refused.stderr
