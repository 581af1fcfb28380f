"""Boosts, groups, variety and pages as the command line asks for them."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest

from sidecar.commands.search_order import add_order_arguments, order_fields
from sidecar.errors import InvalidFieldError
from sidecar.v1.filter_pb2 import ATTRIBUTE_TYPE_INTEGER, ATTRIBUTE_TYPE_TIMESTAMP
from sidecar.v1.search_pb2 import SearchRequest

TYPES = {"year": ATTRIBUTE_TYPE_INTEGER, "seen": ATTRIBUTE_TYPE_TIMESTAMP}


def asked(*words: str) -> SearchRequest:
    parser = argparse.ArgumentParser()
    add_order_arguments(parser)
    return SearchRequest(**order_fields(parser.parse_args(words), TYPES))


def test_every_argument_is_sent() -> None:
    search = asked(
        *("--boost", "year=2024", "3", "--boost", "year<2000", "0.5", "--recent", "seen", "30"),
        *("--group-by", "year:2", "--diversity", "0.4"),
    )
    assert [boost.factor for boost in search.boosts] == [3.0, 0.5]
    assert search.boosts[0].filter.equals.value.integer_value == 2024
    assert search.boosts[1].filter.range.less_than.integer_value == 2000
    assert (search.decay.attribute, search.decay.half_life) == ("seen", 30 * 86_400)
    assert (search.grouping.attribute, search.grouping.per_group) == ("year", 2)
    assert search.diversity.relevance == 0.4


def test_what_is_not_given_is_not_asked_for() -> None:
    assert asked() == SearchRequest()
    assert not asked("--group-by", "year").grouping.HasField("per_group")


@pytest.mark.parametrize(
    "words",
    [
        ("--boost", "year", "2"),
        ("--boost", "jahr=1", "2"),
        ("--boost", "year=1", "twice"),
        ("--recent", "seen", "soon"),
        ("--group-by", "year:few"),
    ],
)
def test_what_cannot_be_read_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(InvalidFieldError):
        asked(*words)


def test_pages_of_groups_out_of_a_server(sidecar, server, tmp_path: Path) -> None:
    lines = [
        {"_id": f"d{n:02}", "title": f"Document {n}", "text": "word", "metadata": {"year": n % 8}}
        for n in range(40)
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    target = ("--to", server.address, "--collection", "years")
    done = sidecar("index", tmp_path, *target, "--create", "--attribute", "year:integer")
    assert done.returncode == 0, done.stderr
    where = ("--on", server.address, "--collection", "years")
    asked = ("--group-by", "year:2", "--boost", "year=3", "4", "--explain")
    found = sidecar("search", "word", *where, *asked, "--top", "5", "--pages", "9")
    assert found.returncode == 0, found.stderr
    shown = [int(number) for number in re.findall(r"Document (\d+)", found.stdout)]
    assert [n % 8 for n in shown[:2]] == [3, 3]
    assert sorted(n % 8 for n in shown) == sorted([*range(8), *range(8)])
    assert re.findall(r" page (\d+)", found.stdout) == ["2", "3", "4"]
    assert "boosted by 4" in found.stdout
