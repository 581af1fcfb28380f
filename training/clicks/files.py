"""Click logs from files: the Parquet that the sidecar's feedback log writes, and JSON lines.

A JSON line is one impression: {"query": "...", "shown": ["id", ...]} and, as far as they are known,
"clicked" ([0, 1, ...] by rank), "events" ([{"action", "doc_id", "value", "time"}, ...], actions as
the sidecar names them), "session", "time" (seconds since the epoch), "swapped_rank" and
"exploration_share".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidecar.errors import InputFileError
from sidecar.feedback_types import Action
from training.clicks.log import NO_RATING, UNSHOWN, ClickLog, IntArray, click_log, lowest_rank

Refuse = Callable[[int, str], None]
ACTIONS = {action.value: number for number, action in enumerate(Action)}
_FOLLOWS_A_CLICK = (Action.CLICK, Action.DWELL, Action.CART_ADDITION, Action.ORDER)


@dataclass(slots=True)
class _Impressions:
    """Columns of impressions; the shown documents of all of them behind one another."""

    queries: Sequence[str]
    sessions: Sequence[str]  # "": not known
    times: NDArray[Any]
    swapped_ranks: NDArray[Any]
    exploration_shares: NDArray[Any]
    lengths: NDArray[Any]
    documents: Sequence[str]


@dataclass(slots=True)
class _Events:
    """Columns of events; `rows` are their impressions' places, -1 for one that is not there."""

    rows: Sequence[int]
    actions: Sequence[str]
    documents: Sequence[str]
    values: Sequence[float] | NDArray[Any]  # NaN: none
    times: Sequence[float] | NDArray[Any]


def read_parquet(folder: Path, collection: str | None = None) -> ClickLog:
    """What the sidecar wrote under `folder` (impressions/hour=*/*.parquet, events/...) of one
    collection; "" is the rankings of lists that callers brought.

    Left out are impressions that another revision replaced before the user did anything, and, where
    the client sends views, those that were never viewed. Raises InputFileError for a folder without
    impressions, and for several collections when none is named.
    """
    import pyarrow.compute as pc  # takes a while, and JSON lines do without

    table = _read(folder, "impressions")
    names = sorted(table["collection"].unique().to_pylist())
    if collection is None and len(names) > 1:
        raise InputFileError(str(folder), None, f"say which collection is meant, of {names}")
    if collection is not None:
        if collection not in names:
            raise InputFileError(str(folder), None, f"nothing of {collection!r}, only of {names}")
        table = table.filter(pc.field("collection") == collection)
    table = table.sort_by("answered").combine_chunks()
    places = {name: place for place, name in enumerate(table["impression_id"].to_pylist())}
    events = _to_events(_read(folder, "events"), places)
    kept = _was_shown(table["final"].to_numpy(), events)
    return _build(_to_impressions(table), events).select(kept)


def read_jsonl(path: Path, refuse: Refuse | None = None) -> ClickLog:
    """The impressions of a file of JSON lines. `refuse` is told the number of a line that is not
    one, and why; without it such a line raises InputFileError."""

    def refused(line: int, reason: str) -> None:
        if refuse is None:
            raise InputFileError(str(path), line, reason)
        refuse(line, reason)

    try:
        with path.open(encoding="utf-8") as file:
            rows = list(_json_rows(file, refused))
    except OSError as error:
        raise InputFileError(str(path), None, f"cannot be read: {error.strerror}") from error
    return _from_json(rows)


def _read(folder: Path, kind: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from sidecar.storage.feedback.parquet import SCHEMAS

    hit = "hits.list.element"
    columns = {
        "impressions": [
            *("impression_id", "answered", "query", "collection", "session", "final"),
            *("exploration_share", "swapped_rank", f"{hit}.doc_id"),
        ],
        "events": ["impression_id", "action", "doc_id", "value", "time"],
    }[kind]
    paths = sorted((folder / kind).glob("hour=*/[!.]*.parquet"))
    if not paths and kind == "impressions":
        message = "holds no impressions/hour=*/*.parquet (`sidecar feedback roll` writes them)"
        raise InputFileError(str(folder), None, message)
    if not paths:
        return SCHEMAS[kind].empty_table()
    tables = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            tables.append(file.read(columns=columns))
    return pa.concat_tables(tables)


def _to_impressions(table: Any) -> _Impressions:
    import pyarrow.compute as pc

    hits = table["hits"].combine_chunks()
    lengths = pc.list_value_length(hits).to_numpy(zero_copy_only=False)
    sessions = table["session"].to_pylist()
    return _Impressions(
        queries=table["query"].to_pylist(),
        sessions=sessions,
        times=_seconds(table["answered"]),
        swapped_ranks=pc.fill_null(table["swapped_rank"], 0).to_numpy(),
        exploration_shares=table["exploration_share"].to_numpy(),
        lengths=lengths,
        documents=hits.flatten().field("doc_id").to_pylist(),
    )


def _to_events(table: Any, places: dict[str, int]) -> _Events:
    import pyarrow.compute as pc

    return _Events(
        rows=[places.get(name, -1) for name in table["impression_id"].to_pylist()],
        actions=table["action"].to_pylist(),
        documents=[name or "" for name in table["doc_id"].to_pylist()],
        values=pc.fill_null(table["value"], float("nan")).to_numpy(),
        times=_seconds(table["time"]),
    )


def _seconds(column: Any) -> NDArray[Any]:
    import pyarrow as pa

    return column.cast(pa.int64()).to_numpy() / 1e6  # type: ignore[no-any-return]


def _was_shown(final: NDArray[Any], events: _Events) -> NDArray[Any]:
    """(impressions,): final ones and those with an event; only these where views are sent."""
    rows = np.asarray(events.rows, dtype=np.int64)
    viewed = np.asarray(events.actions) == Action.VIEW.value
    touched, seen = np.zeros(len(final), dtype=bool), np.zeros(len(final), dtype=bool)
    touched[rows[rows >= 0]] = True
    seen[rows[(rows >= 0) & viewed]] = True
    # Some clients do not send views: those of most rankings with events tell that this one does.
    sends_views = seen.sum() > touched.sum() / 2
    return touched if sends_views else touched | np.asarray(final, dtype=bool)


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
    for event in row.get("events", []):
        if not isinstance(event, dict) or event.get("action") not in ACTIONS:
            raise ValueError(f"events: an action is one of {', '.join(ACTIONS)}")
        if event["action"] != Action.VIEW and event.get("doc_id") not in shown:
            raise ValueError(f"events: {event.get('doc_id')!r} was not shown")


def _from_json(rows: Sequence[dict[str, Any]]) -> ClickLog:
    times = np.array([float(row.get("time", 0.0)) for row in rows])
    impressions = _Impressions(
        queries=[row["query"] for row in rows],
        sessions=[str(row.get("session", "")) for row in rows],
        times=times,
        swapped_ranks=np.array([row.get("swapped_rank") or 0 for row in rows], dtype=np.int64),
        exploration_shares=np.array([float(row.get("exploration_share", 0)) for row in rows]),
        lengths=np.array([len(row["shown"]) for row in rows], dtype=np.int64),
        documents=[name for row in rows for name in row["shown"]],
    )
    each = [(place, event) for place, row in enumerate(rows) for event in _events_of(row)]
    values = [event.get("value") for _, event in each]
    events = _Events(
        rows=[place for place, _ in each],
        actions=[event["action"] for _, event in each],
        documents=[event.get("doc_id", "") for _, event in each],
        values=[float("nan") if value is None else float(value) for value in values],
        times=[float(event.get("time", times[place])) for place, event in each],
    )
    return _build(impressions, events)


def _events_of(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, clicked in zip(row["shown"], row.get("clicked") or [], strict=False):
        if clicked:
            yield {"action": Action.CLICK.value, "doc_id": name}
    yield from row.get("events", [])


def _build(given: _Impressions, events: _Events) -> ClickLog:
    query_names, queries = _codes(given.queries)
    document_names, flat = _codes(given.documents)
    lengths = np.asarray(given.lengths, dtype=np.int64)
    most = int(lengths.max(initial=0))
    shown = np.arange(most) < lengths[:, None]
    documents = np.full(shown.shape, UNSHOWN, dtype=np.int64)
    documents[shown] = flat
    return click_log(
        queries,
        documents,
        query_names=query_names,
        document_names=document_names,
        sessions=_sessions(given.sessions),
        times=np.asarray(given.times),
        swapped_ranks=np.asarray(given.swapped_ranks),
        swap_probabilities=np.asarray(given.exploration_shares) / np.maximum(lengths - 1, 1),
        **_event_columns(documents, document_names, events),
    )


def _event_columns(
    documents: IntArray, document_names: tuple[str, ...], events: _Events
) -> dict[str, NDArray[Any]]:
    """What was done, (impressions, ranks) or (impressions,) each."""
    rows, actions, ranks, values = _placed(documents, document_names, events)

    def of(*wanted: Action) -> NDArray[Any]:
        return np.isin(actions, [ACTIONS[one.value] for one in wanted]) & (rows >= 0)

    def marked(*wanted: Action) -> NDArray[Any]:
        mask, chosen = np.zeros(documents.shape, dtype=bool), of(*wanted) & (ranks > 0)
        mask[rows[chosen], ranks[chosen] - 1] = True
        return mask

    clicks = marked(*_FOLLOWS_A_CLICK)
    last = lowest_rank(clicks)
    clicked = of(Action.CLICK) & (ranks > 0)
    last[rows[clicked]] = ranks[clicked]  # in the order of time: the last one stays
    viewed = np.zeros(len(documents), dtype=np.int64)
    views = of(Action.VIEW)
    np.maximum.at(viewed, rows[views], np.nan_to_num(values[views]).astype(np.int64))
    dwell, ratings = np.full(documents.shape, np.nan), np.full(documents.shape, NO_RATING)
    stays, rated = of(Action.DWELL) & (ranks > 0), of(Action.RATING) & (ranks > 0)
    np.fmax.at(dwell, (rows[stays], ranks[stays] - 1), values[stays])
    ratings[rows[rated], ranks[rated] - 1] = values[rated]
    return {
        "clicks": clicks,
        "last_clicked_ranks": last,
        "viewed_ranks": viewed,
        "dwell_seconds": dwell,
        "ratings": ratings,
        "carts": marked(Action.CART_ADDITION),
        "orders": marked(Action.ORDER),
        "skips": marked(Action.SKIP),
    }


def _placed(
    documents: IntArray, document_names: tuple[str, ...], events: _Events
) -> tuple[IntArray, IntArray, IntArray, NDArray[Any]]:
    """Rows, actions, ranks (0: not shown) and values of the events, by time."""
    order = np.argsort(np.asarray(events.times, dtype=np.float64), kind="stable")
    code_of = {name: code for code, name in enumerate(document_names)}
    codes = np.array([code_of.get(name, UNSHOWN) for name in events.documents], dtype=np.int64)
    rows = np.asarray(events.rows, dtype=np.int64)[order]
    actions = np.array([ACTIONS[action] for action in events.actions], dtype=np.int64)[order]
    if not len(rows):
        return rows, actions, rows, np.zeros(0)
    at = (documents[rows] == codes[order, None]) & (codes[order, None] != UNSHOWN)
    ranks = np.where(at.any(axis=1), at.argmax(axis=1) + 1, 0)
    return rows, actions, ranks, np.asarray(events.values, dtype=np.float64)[order]


def _codes(names: Sequence[str]) -> tuple[tuple[str, ...], IntArray]:
    """The different names as they first come, and each as its place among them."""
    places: dict[str, int] = {}
    codes = [places.setdefault(name, len(places)) for name in names]
    return tuple(places), np.array(codes, dtype=np.int64)


def _sessions(names: Sequence[str]) -> IntArray:
    """Numbers; an impression of no known session is one of its own."""
    return _codes([name or f"\0{place}" for place, name in enumerate(names)])[1]
