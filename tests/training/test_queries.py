"""Ids and splits follow from what a query says, not from how it is written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import InputFileError
from training.lists import Split
from training.queries import (
    KnownQuery,
    normalised,
    query_id_of,
    read_queries,
    split_of,
    write_queries,
)


@pytest.mark.parametrize(
    ("query", "same"),
    [
        ("Red  SHOES ", "red shoes"),
        ("ｒｅｄ　ｓｈｏｅｓ", "red shoes"),
        ("STRASSE", "straße"),
        ("ﬁne\tprint\n", "fine print"),
    ],
)
def test_the_same_query(query: str, same: str) -> None:
    assert normalised(query) == normalised(same)
    assert query_id_of(query) == query_id_of(same)
    assert split_of(query, 1, 0.3, 0.3) == split_of(same, 1, 0.3, 0.3)


@given(st.text())
def test_normalising_twice_changes_nothing(query: str) -> None:
    assert normalised(normalised(query)) == normalised(query)
    assert query_id_of(query).startswith("q-")
    assert query_id_of(query, synthetic=True).startswith("synthetic-")


def test_splits_have_their_shares_and_hang_on_the_seed() -> None:
    queries = [f"query number {n}" for n in range(20_000)]
    splits = [split_of(one, 7, 0.1, 0.2) for one in queries]
    counts = Counter(splits)
    assert counts[Split.TEST] == pytest.approx(4000, abs=200)
    assert counts[Split.DEV] == pytest.approx(2000, abs=150)
    others = [split_of(one, 8, 0.1, 0.2) for one in queries]
    together = sum(a == b == Split.TEST for a, b in zip(splits, others, strict=True))
    assert together == pytest.approx(800, abs=120)
    assert {split_of(one, 7, 0.1, 0.0) for one in queries} == {Split.TRAIN, Split.DEV}


def test_through_a_file(tmp_path: Path) -> None:
    queries = [
        KnownQuery("q-1", "größe", Split.DEV, 3, "en"),
        KnownQuery("synthetic-2", "x", Split.TRAIN, synthetic=True),
    ]
    write_queries(queries, tmp_path / "queries.jsonl")
    assert list(read_queries(tmp_path / "queries.jsonl")) == queries


def test_a_line_that_is_no_query(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"query_id": "q"}\n')
    with pytest.raises(InputFileError, match="line 1"):
        list(read_queries(path))
    good = '{"query_id": "q", "query": "a", "split": "dev"}\n'
    for damaged, told in ((b'{"query', "not valid JSON"), (b"\xff", "not UTF-8"), (b"7", "object")):
        path.write_bytes(good.encode() + damaged)
        with pytest.raises(InputFileError, match=rf"queries\.jsonl, line 2: .*{told}"):
            list(read_queries(path))
    with pytest.raises(InputFileError, match="cannot be read"):
        list(read_queries(tmp_path / "none"))
