"""Logs of several files as one, queries under other names, and names that nobody uses gone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.clicks.log import NO_RATING, UNSHOWN, ClickLog, IntArray, click_log

_FILL: dict[str, Any] = {
    "documents": UNSHOWN,
    "clicks": False,
    "dwell_seconds": np.nan,
    "carts": False,
    "orders": False,
    "skips": False,
    "ratings": NO_RATING,
}
_NAMES = {"query_names": "queries", "document_names": "documents"}


def join_logs(logs: Sequence[ClickLog]) -> ClickLog:
    """Their impressions behind one another. Queries and documents of the same name are the same;
    sessions of different logs are not."""
    if not logs:
        return click_log(np.zeros(0), np.zeros((0, 0)), query_names=(), document_names=())
    if len(logs) == 1:
        return logs[0]
    names = {field: _union([getattr(log, field) for log in logs]) for field in _NAMES}
    shared = [_renumbered(log, names) for log in _with_own_sessions(logs)]
    ranks = max(log.ranks for log in logs)
    columns = {
        each.name: np.concatenate(
            [_widened(getattr(log, each.name), each.name, ranks) for log in shared]
        )
        for each in dataclasses.fields(ClickLog)
        if each.name not in _NAMES
    }
    return ClickLog(
        **columns,
        query_names=tuple(names["query_names"]),
        document_names=tuple(names["document_names"]),
    )


def with_queries(log: ClickLog, names: Sequence[str]) -> ClickLog:
    """The log with names[i] for its query i; those that get the same name become one."""
    places = _union([names])
    code_of = np.array([places[name] for name in names], dtype=np.int64)
    return dataclasses.replace(log, queries=code_of[log.queries], query_names=tuple(places))


def compact(log: ClickLog) -> ClickLog:
    """Without names of queries and documents that no impression has, and ranks that none has."""
    ranks = int(np.max(np.sum(log.shown, axis=1), initial=0))
    used_queries, queries = np.unique(log.queries, return_inverse=True)
    documents = log.documents[:, :ranks]
    used, codes = np.unique(documents[documents != UNSHOWN], return_inverse=True)
    numbered = np.full(documents.shape, UNSHOWN, dtype=np.int64)
    numbered[documents != UNSHOWN] = codes
    by_rank = {name: getattr(log, name)[:, :ranks] for name in _FILL if name != "documents"}
    return dataclasses.replace(
        log,
        queries=queries.astype(np.int64),
        documents=numbered,
        query_names=tuple(log.query_names[code] for code in used_queries.tolist()),
        document_names=tuple(log.document_names[code] for code in used.tolist()),
        **by_rank,
    )


def _union(columns: Sequence[Sequence[str]]) -> dict[str, int]:
    """The place of each name, as they first come."""
    places: dict[str, int] = {}
    for names in columns:
        for name in names:
            places.setdefault(name, len(places))
    return places


def _with_own_sessions(logs: Sequence[ClickLog]) -> list[ClickLog]:
    taken, apart = 0, []
    for log in logs:
        apart.append(dataclasses.replace(log, sessions=log.sessions + taken))
        taken += int(log.sessions.max(initial=-1)) + 1
    return apart


def _renumbered(log: ClickLog, names: dict[str, dict[str, int]]) -> ClickLog:
    queries = _codes(log.query_names, names["query_names"])[log.queries]
    # One place more: UNSHOWN is -1, which takes the last.
    documents = np.append(_codes(log.document_names, names["document_names"]), UNSHOWN)
    return dataclasses.replace(log, queries=queries, documents=documents[log.documents])


def _codes(names: Sequence[str], places: dict[str, int]) -> IntArray:
    return np.array([places[name] for name in names], dtype=np.int64)


def _widened(column: NDArray[Any], name: str, ranks: int) -> NDArray[Any]:
    if name not in _FILL or column.shape[1] == ranks:
        return column
    missing = ((0, 0), (0, ranks - column.shape[1]))
    return np.pad(column, missing, constant_values=_FILL[name])
