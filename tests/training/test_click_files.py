"""Click logs from what the sidecar's feedback log rolls, and from JSON lines."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feedbacks import HOUR, NOON, an_event, an_impression, submitted

from sidecar.errors import InputFileError
from sidecar.feedback_types import Action, Event, Impression
from sidecar.storage.feedback.journal import Journal
from sidecar.storage.feedback.roll import roll
from sidecar.storage.feedback.rows import to_row
from training.clicks.files import read_parquet
from training.clicks.json_lines import read_jsonl
from training.clicks.log import ClickLog, lowest_rank


def rolled(folder: Path, impressions: list[Impression], events: list[Event]) -> Path:
    """A folder as the sidecar writes it."""
    journal = Journal(folder)
    journal.write([to_row(one) for one in impressions], [submitted(*events)])
    journal.close()
    roll(folder, NOON + 40 * HOUR)
    return folder


def by_query(log: ClickLog, number: int) -> int:
    """The row of an impression of `an_impression`."""
    return log.queries.tolist().index(log.query_names.index(f"größe {number}"))


def test_parquet_of_the_feedback_log(tmp_path: Path) -> None:
    """d0, d1, d2 are shown at ranks 1, 2, 3 each time."""
    impressions = [
        an_impression(1, exploration_share=0.1, swapped_rank=2),
        an_impression(2, answered=NOON + 2 * HOUR, session=""),
        an_impression(3, session="5e55"),
    ]
    events = [
        an_event("a", 1, "d1", time=NOON + 9.0),
        an_event("b", 1, "d0", time=NOON + 12.0),
        an_event("c", 1, "d0", action=Action.DWELL, value=12.0),
        an_event("d", 1, "d0", action=Action.DWELL, value=41.5),
        an_event("e", 3, "d2", action=Action.ORDER, value=9.0),
        an_event("f", 3, "d1", action=Action.SKIP),
        an_event("g", 3, "d0", action=Action.RATING, value=3.0),
        an_event("h", 99, "d0"),  # of an impression that was dropped
    ]
    log = read_parquet(rolled(tmp_path, impressions, events))
    assert log.impressions == 3
    first, second, third = (by_query(log, number) for number in (1, 2, 3))
    assert [log.document_names[code] for code in log.documents[first]] == ["d0", "d1", "d2"]
    assert log.clicks.tolist()[first] == [True, True, False]
    assert log.last_clicked_ranks[first] == 1  # d0 was clicked after d1
    assert log.dwell_seconds[first, 0] == 41.5
    assert np.isnan(log.dwell_seconds[first, 1])
    assert log.clicks.tolist()[third] == [False, False, True]  # an order follows a click
    assert log.orders[third, 2]
    assert log.skips.tolist()[third] == [False, True, False]
    assert log.ratings.tolist()[third] == [3, -1, -1]
    assert not log.clicks[second].any()
    assert (log.swapped_ranks[first], log.swapped_ranks[second]) == (2, 0)
    assert log.swap_probabilities[first] == pytest.approx(0.05)  # one of two pairs of neighbours
    assert log.times[second] == pytest.approx(NOON + 2 * HOUR)
    assert log.sessions[first] == log.sessions[third] != log.sessions[second]


def test_replaced_revisions_are_left_out_unless_something_was_done_with_them(
    tmp_path: Path,
) -> None:
    impressions = [
        an_impression(1, final=False),
        an_impression(2, final=False, revision=2),
        an_impression(3, revision=3),
    ]
    log = read_parquet(rolled(tmp_path, impressions, [an_event("a", 2)]))
    assert {log.query_names[code] for code in log.queries} == {"größe 2", "größe 3"}


def test_what_was_never_viewed_is_left_out_where_views_are_sent(tmp_path: Path) -> None:
    impressions = [an_impression(number) for number in (1, 2, 3)]
    events = [
        an_event("a", 1, "", action=Action.VIEW, value=2.0),
        an_event("b", 2, "", action=Action.VIEW),
        an_event("c", 2, "d1"),
    ]
    log = read_parquet(rolled(tmp_path, impressions, events))
    assert {log.query_names[code] for code in log.queries} == {"größe 1", "größe 2"}
    assert log.viewed_ranks[by_query(log, 1)] == 2
    assert log.viewed_ranks[by_query(log, 2)] == 0


def test_later_pages_are_left_out_with_what_was_done_on_them(tmp_path: Path) -> None:
    second = an_impression(2)
    hits = tuple(dataclasses.replace(hit, rank=hit.rank + 10) for hit in second.hits)
    impressions = [
        an_impression(1),
        dataclasses.replace(second, hits=hits),
        an_impression(3, hits=()),
        an_impression(4),
    ]
    events = [an_event("a", 2, "d0"), an_event("b", 4, "d2")]
    left_out: Counter[str] = Counter()
    log = read_parquet(rolled(tmp_path, impressions, events), left_out=left_out)
    assert {log.query_names[code] for code in log.queries} == {"größe 1", "größe 3", "größe 4"}
    assert left_out["later pages"] == 1
    assert log.clicks.sum() == 1
    assert log.clicks[by_query(log, 4)].tolist() == [False, False, True]


def test_one_collection_at_a_time(tmp_path: Path) -> None:
    folder = rolled(tmp_path, [an_impression(1), an_impression(2, collection="others")], [])
    with pytest.raises(InputFileError, match="say which collection"):
        read_parquet(folder)
    assert read_parquet(folder, "others").impressions == 1
    with pytest.raises(InputFileError, match="nothing of 'thing'"):
        read_parquet(folder, "thing")


def test_a_folder_without_impressions_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="sidecar feedback roll"):
        read_parquet(tmp_path)


def lines(folder: Path, *rows: Any) -> Path:
    path = folder / "clicks.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_json_lines(tmp_path: Path) -> None:
    events = [
        {"action": "click", "doc_id": "c", "time": 20},
        {"action": "click", "doc_id": "a", "time": 30},
        {"action": "dwell", "doc_id": "a", "value": 31, "time": 60},
        {"action": "view", "value": 3},
    ]
    log = read_jsonl(
        lines(
            tmp_path,
            {"query": "q", "shown": ["a", "b", "c"], "events": events, "session": "s", "time": 19},
            {"query": "r", "shown": ["c", "d"], "clicked": [0, 1], "session": "s", "time": 40},
            {"query": "q", "shown": [], "exploration_share": 0.5},
        )
    )
    assert log.clicks.tolist() == [[True, False, True], [False, True, False], [False] * 3]
    assert log.last_clicked_ranks.tolist() == [1, 2, 0]
    assert log.dwell_seconds[0, 0] == 31
    assert log.viewed_ranks.tolist() == [3, 0, 0]
    assert log.sessions[0] == log.sessions[1] != log.sessions[2]
    assert log.document_names[log.documents[1, 0]] == "c"
    assert log.documents[1, 2] == -1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"shown": ["a"]}, "no impression"),
        ({"query": "q", "shown": ["a", 1]}, "shown: not a list"),
        ({"query": "q", "shown": ["a", "a"]}, "a document twice"),
        ({"query": "q", "shown": ["a"], "clicked": [1, 0]}, "not a list of 1"),
        ({"query": "q", "shown": ["a"], "events": [{"action": "clic"}]}, "an action is one of"),
        (
            {"query": "q", "shown": ["a"], "events": [{"action": "click", "doc_id": "b"}]},
            "'b' was not shown",
        ),
    ],
)
def test_a_line_that_is_refused_is_named(tmp_path: Path, row: Any, reason: str) -> None:
    path = lines(tmp_path, {"query": "q", "shown": ["a"]}, row, {"query": "p", "shown": ["b"]})
    with pytest.raises(InputFileError, match=f"line 2.*{reason}"):
        read_jsonl(path)
    told: list[tuple[int, str]] = []
    log = read_jsonl(path, lambda line, why: told.append((line, why)))
    assert log.impressions == 2
    assert [line for line, _ in told] == [2]


def test_a_line_that_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "clicks.jsonl"
    path.write_text('{"query": "q", "shown": ["a"]}\n{"query": \n')
    with pytest.raises(InputFileError, match="line 2"):
        read_jsonl(path)


def test_a_long_log(tmp_path: Path) -> None:
    """Clicks are where they were said to be."""
    source = np.random.default_rng(0)
    rows = [
        {"query": str(source.integers(500)), "shown": [str(n) for n in range(10)], "clicked": row}
        for row in (source.random((20_000, 10)) < 0.1).astype(int).tolist()
    ]
    log = read_jsonl(lines(tmp_path, *rows))
    assert (log.clicks == np.array([row["clicked"] for row in rows], dtype=bool)).all()
    assert (log.last_clicked_ranks == lowest_rank(log.clicks)).all()


def test_long_rankings_are_cut(tmp_path: Path) -> None:
    rows = [
        {"query": "q", "shown": list("abcde"), "clicked": [1, 0, 0, 1, 0], "swapped_rank": 3},
        {"query": "q", "shown": ["e"], "clicked": [1]},
        {"query": "q", "shown": list("dcba"), "swapped_rank": 1},
    ]
    told: Counter[str] = Counter()
    log = read_jsonl(lines(tmp_path, *rows), left_out=told, most_ranks=3)
    named = [[log.document_names[code] for code in row if code >= 0] for row in log.documents]
    assert named == [list("abc"), ["e"], list("dcb")]
    assert log.clicks.tolist() == [[True, False, False], [True, False, False], [False] * 3]
    assert log.swapped_ranks.tolist() == [0, 0, 1]  # the other hit of the swap is cut off
    assert told["hits below the last rank that is kept"] == 3
