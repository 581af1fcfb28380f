"""Click logs from JSON lines, for whoever has a log of their own.

A line is one impression: {"query": "...", "shown": ["id", ...]} and, as far as they are known,
"clicked" ([0, 1, ...] by rank), "events" ([{"action", "doc_id", "value", "time"}, ...], actions as
the sidecar names them), "session", "time" (seconds since the epoch), "impression_id",
"swapped_rank" and "exploration_share".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidecar.errors import InputFileError
from sidecar.feedback_types import Action
from training.clicks.columns import ACTIONS, MOST_RANKS, Events, Impressions, build, names_of
from training.clicks.log import UNSHOWN, ClickLog

Refuse = Callable[[int, str], None]


def read_jsonl(
    path: Path,
    refuse: Refuse | None = None,
    left_out: Counter[str] | None = None,
    most_ranks: int = MOST_RANKS,
) -> ClickLog:
    """The impressions of a file of JSON lines. `refuse` is told the number of a line that is not
    one, and why; without it such a line raises InputFileError."""

    def refused(line: int, reason: str) -> None:
        if refuse is None:
            raise InputFileError(str(path), line, reason)
        refuse(line, reason)

    told = left_out if left_out is not None else Counter()
    try:
        with path.open(encoding="utf-8") as file:
            rows = list(_once(_json_rows(file, refused), told))
    except OSError as error:
        raise InputFileError(str(path), None, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputFileError(str(path), None, f"is not UTF-8: {error}") from error
    return _from_json(rows, told, most_ranks)


def _json_rows(lines: Iterable[str], refused: Refuse) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            _check_row(row)
        except ValueError as error:
            refused(number, str(error))
            continue
        yield row


def _once(rows: Iterable[dict[str, Any]], told: Counter[str]) -> Iterator[dict[str, Any]]:
    """Those that say which impression they are, once each."""
    seen = set()
    for row in rows:
        name = row.get("impression_id")
        if name is None or name not in seen:
            seen.add(name)
            yield row
        else:
            told["impressions that are there twice"] += 1


def _check_row(row: Any) -> None:
    """Raises ValueError that says which field is not acceptable."""
    if not isinstance(row, dict) or not isinstance(row.get("query"), str):
        raise ValueError('no impression: {"query": "...", "shown": ["id", ...], ...}')
    shown, clicked = row.get("shown"), row.get("clicked")
    if not isinstance(shown, list) or not all(isinstance(one, str) for one in shown):
        raise ValueError("shown: not a list of document ids")
    if len(set(shown)) < len(shown):
        raise ValueError("shown: a document twice")
    if clicked is not None and (not isinstance(clicked, list) or len(clicked) != len(shown)):
        raise ValueError(f"clicked: not a list of {len(shown)}, one a shown document")
    for name in ("time", "exploration_share", "swapped_rank"):
        _check_number(row, name)
    for event in row.get("events", []):
        _check_event(event, shown)


def _check_event(event: Any, shown: Sequence[str]) -> None:
    """Raises ValueError."""
    if not isinstance(event, dict) or event.get("action") not in ACTIONS:
        raise ValueError(f"events: an action is one of {', '.join(ACTIONS)}")
    if event["action"] != Action.VIEW and event.get("doc_id") not in shown:
        raise ValueError(f"events: {event.get('doc_id')!r} was not shown")
    for name in ("value", "time"):
        _check_number(event, name)


def _check_number(row: dict[str, Any], name: str) -> None:
    """Raises ValueError."""
    value = row.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"{name}: {value!r} is no number")


def _from_json(rows: Sequence[dict[str, Any]], told: Counter[str], most_ranks: int) -> ClickLog:
    times = np.array([float(row.get("time") or 0.0) for row in rows])
    impressions = Impressions(
        queries=names_of([row["query"] for row in rows]),
        sessions=names_of([str(row.get("session", "")) for row in rows]),
        times=times,
        swapped_ranks=_column([row.get("swapped_rank") or 0 for row in rows], np.int64),
        exploration_shares=_column([row.get("exploration_share") or 0 for row in rows], float),
        lengths=_column([len(row["shown"]) for row in rows], np.int64),
        documents=names_of([name for row in rows for name in row["shown"]]),
    )
    return build(impressions, _json_events(rows, impressions), told, most_ranks)


def _json_events(rows: Sequence[dict[str, Any]], impressions: Impressions) -> Events:
    places = {name: place for place, name in enumerate(impressions.documents.names)}
    each = [(place, event) for place, row in enumerate(rows) for event in _events_of(row)]
    values = [event.get("value") for _, event in each]
    times = [event.get("time") for _, event in each]
    return Events(
        rows=_column([place for place, _ in each], np.int64),
        actions=_column([ACTIONS[event["action"]] for _, event in each], np.int64),
        documents=_column([places.get(e.get("doc_id", ""), UNSHOWN) for _, e in each], np.int64),
        values=_column([np.nan if value is None else value for value in values], float),
        times=_column(
            [
                impressions.times[place] if time is None else time
                for (place, _), time in zip(each, times, strict=True)
            ],
            float,
        ),
    )


def _column(values: Sequence[Any], kind: Any) -> NDArray[Any]:
    return np.array(values, dtype=kind)


def _events_of(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, clicked in zip(row["shown"], row.get("clicked") or [], strict=False):
        if clicked:
            yield {"action": Action.CLICK.value, "doc_id": name}
    yield from row.get("events", [])
