"""Logs joined: nothing is lost, and nothing becomes another thing."""

from __future__ import annotations

import numpy as np
from click_logs import a_world

from training.clicks.joining import compact, join_logs, with_queries
from training.clicks.log import UNSHOWN, ClickLog, click_log


def shown(log: ClickLog) -> list[tuple[str, list[str], list[bool]]]:
    """What was asked, shown and clicked, by name."""
    return [
        (
            log.query_names[query],
            [log.document_names[d] for d in row if d != UNSHOWN],
            [bool(c) for c, d in zip(clicks, row, strict=True) if d != UNSHOWN],
        )
        for query, row, clicks in zip(log.queries, log.documents, log.clicks, strict=True)
    ]


def a_log(names: tuple[str, ...], documents: tuple[str, ...], rows: list[list[int]]) -> ClickLog:
    table = np.array(rows)
    return click_log(
        np.arange(len(rows)) % len(names),
        table,
        clicks=(table % 2 == 1) & (table >= 0),
        query_names=names,
        document_names=documents,
    )


def test_names_are_the_same_in_all_logs_and_sessions_are_not() -> None:
    one = a_log(("a", "b"), ("x", "y", "z"), [[0, 1, 2], [2, 1, -1]])
    other = a_log(("b", "c"), ("z", "w"), [[1, 0], [0, -1]])
    joined = join_logs([one, other])
    assert shown(joined) == shown(one) + shown(other)
    assert joined.query_names == ("a", "b", "c")
    assert joined.document_names == ("x", "y", "z", "w")
    assert len(np.unique(joined.sessions)) == 4
    assert joined.ranks == 3
    assert np.isnan(joined.dwell_seconds[2:, 2]).all()
    assert (joined.ratings[2:, 2] == -1).all()


def test_no_log_and_one() -> None:
    assert join_logs([]).impressions == 0
    log = a_world("pbm", sessions=10).log
    assert join_logs([log]) is log


def test_queries_of_one_name_become_one() -> None:
    log = a_log(("A", "a", "b"), ("x", "y"), [[0, 1], [1, 0], [0, -1]])
    merged = with_queries(log, ["a", "a", "b"])
    assert merged.query_names == ("a", "b")
    assert [name for name, _, _ in shown(merged)] == ["a", "a", "b"]


def test_what_nobody_uses_goes() -> None:
    log = a_log(("a", "b", "c"), ("x", "y", "z"), [[0, 2, -1], [1, 0, -1], [2, -1, -1]])
    kept = log.select(np.array([0, 2]))
    small = compact(kept)
    assert shown(small) == shown(kept)
    assert small.query_names == ("a", "c")
    assert small.document_names == ("x", "z")
    assert small.ranks == 2
    assert compact(kept.select(np.zeros(0, dtype=int))).document_names == ()
