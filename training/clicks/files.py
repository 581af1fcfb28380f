"""Click logs from files: the Parquet that the sidecar's feedback log writes, and JSON lines.

A JSON line is one impression: {"query": "...", "shown": ["id", ...]} and, as far as they are known,
"clicked" ([0, 1, ...] by rank), "events" ([{"action", "doc_id", "value", "time"}, ...], actions as
the sidecar names them), "session", "time" (seconds since the epoch), "impression_id",
"swapped_rank" and "exploration_share".

What is left out is counted by its reason in a Counter, if the caller gives one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidecar.errors import InputFileError
from sidecar.feedback_types import Action
from training.clicks.columns import (
    ACTIONS,
    MOST_RANKS,
    Events,
    Impressions,
    Names,
    build,
    names_of,
)
from training.clicks.log import UNSHOWN, BoolArray, ClickLog, FloatArray, IntArray

Refuse = Callable[[int, str], None]
_HIT = "hits.list.element"
_COLUMNS = {
    "impressions": [
        *("impression_id", "answered", "query", "collection", "session", "final"),
        *("exploration_share", "swapped_rank", f"{_HIT}.doc_id"),
    ],
    "events": ["event_id", "impression_id", "action", "doc_id", "value", "time"],
}


def read_parquet(
    folders: Path | Sequence[Path],
    collection: str | None = None,
    left_out: Counter[str] | None = None,
    most_ranks: int = MOST_RANKS,
) -> ClickLog:
    """What the sidecar wrote under each folder (impressions/hour=*/*.parquet, events/...) of one
    collection; "" is the rankings of lists that callers brought. In the order of time.

    Left out are impressions and events that are there twice, impressions that another revision
    replaced before the user did anything, and, where the client sends views, those that were never
    viewed. Raises InputFileError for a folder without impressions, and for several collections when
    none is named.
    """
    given = [folders] if isinstance(folders, Path) else list(folders)
    told = left_out if left_out is not None else Counter()
    found = _read_impressions(given, collection, told)
    events = _read_events(given, found, told)
    kept = _was_shown(found, events, told)
    order = np.argsort(found.columns.times, kind="stable")
    log = build(found.columns, events, told, most_ranks)
    return log.select(order[kept[order]])


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


@dataclass(frozen=True, slots=True)
class _Found:
    """Impressions of a collection, each once. `ids` is an Arrow array."""

    ids: Any
    columns: Impressions
    final: BoolArray


def _tables(folder: Path, kind: str) -> Iterator[Any]:
    import pyarrow.parquet as pq  # takes a while, and JSON lines do without

    for path in sorted((folder / kind).glob("hour=*/[!.]*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                yield file.read(columns=_COLUMNS[kind])
        except (OSError, ValueError, KeyError) as error:
            message = f"is no file of the feedback log: {error}"
            raise InputFileError(str(path), None, message) from error


def _read_impressions(
    folders: Sequence[Path], collection: str | None, told: Counter[str]
) -> _Found:
    """Raises InputFileError."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names: set[str] = set()
    pieces: list[Any] = []
    for folder in folders:
        before = len(pieces)
        for table in _tables(folder, "impressions"):
            names.update(table["collection"].unique().to_pylist())
            pieces.append(
                table if collection is None else table.filter(pc.field("collection") == collection)
            )
        if len(pieces) == before:
            message = "holds no impressions/hour=*/*.parquet (`sidecar feedback roll` writes them)"
            raise InputFileError(str(folder), None, message)
    _check_collection(folders, collection, names)
    table = _each_once(pa.concat_tables(pieces), "impression_id", "impressions", told)
    return _to_found(table)


def _check_collection(folders: Sequence[Path], collection: str | None, names: set[str]) -> None:
    where = ", ".join(map(str, folders))
    if collection is None and len(names) > 1:
        message = f"say which collection is meant (sidecar.collection), of {sorted(names)}"
        raise InputFileError(where, None, message)
    if collection is not None and collection not in names:
        raise InputFileError(where, None, f"nothing of {collection!r}, only of {sorted(names)}")


def _each_once(table: Any, column: str, kind: str, told: Counter[str]) -> Any:
    """The first row of each id."""
    codes = _names(table[column], keep_names=False).codes
    first = np.unique(codes, return_index=True)[1]
    told[f"{kind} that are there twice"] += len(codes) - len(first)
    return table if len(first) == len(codes) else table.take(np.sort(first))


def _to_found(table: Any) -> _Found:
    import pyarrow as pa
    import pyarrow.compute as pc

    chunks = table["hits"].chunks
    shown = pa.chunked_array(
        [chunk.flatten().field("doc_id") for chunk in chunks], type=pa.string()
    )
    columns = Impressions(
        queries=_names(table["query"]),
        sessions=_names(pc.fill_null(table["session"], "")),
        times=_seconds(table["answered"]),
        swapped_ranks=_numbers(pc.fill_null(table["swapped_rank"], 0)),
        exploration_shares=table["exploration_share"].to_numpy(),
        lengths=_numbers(pc.fill_null(pc.list_value_length(table["hits"]), 0)),
        documents=_names(shown),
    )
    return _Found(table["impression_id"], columns, table["final"].to_numpy())


def _names(column: Any, keep_names: bool = True) -> Names:
    """Of an Arrow column of strings."""
    chunks = column.dictionary_encode().unify_dictionaries().chunks
    if not chunks:
        return Names(np.zeros(0, dtype=np.int64), ())
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in chunks]).astype(np.int64)
    return Names(codes, tuple(chunks[0].dictionary.to_pylist()) if keep_names else ())


def _read_events(folders: Sequence[Path], found: _Found, told: Counter[str]) -> Events:
    import pyarrow as pa
    import pyarrow.compute as pc

    tables = [table for folder in folders for table in _tables(folder, "events")]
    if not tables:
        return no_events()
    table = _each_once(pa.concat_tables(tables), "event_id", "events", told)
    actions, documents = table["action"], pa.array(found.columns.documents.names, pa.string())
    return Events(
        rows=_places(table["impression_id"], found.ids),
        actions=_places(actions, pa.array(list(ACTIONS))),
        documents=_places(table["doc_id"], documents),
        values=pc.fill_null(table["value"], float("nan")).to_numpy(),
        times=_seconds(table["time"]),
    )


def _places(column: Any, among: Any) -> IntArray:
    """(rows,): where each value is in `among`, -1: nowhere."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = among.combine_chunks() if isinstance(among, pa.ChunkedArray) else among
    found = pc.index_in(column, value_set=whole, skip_nulls=True)
    return _numbers(pc.fill_null(found, UNSHOWN))


def _numbers(column: Any) -> IntArray:
    numbers: IntArray = column.to_numpy().astype(np.int64)
    return numbers


def _seconds(column: Any) -> FloatArray:
    import pyarrow as pa

    seconds: FloatArray = column.cast(pa.int64()).to_numpy() / 1e6
    return seconds


def no_events() -> Events:
    """An empty table of them."""
    none, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
    return Events(none, none, none, nothing, nothing)


def _was_shown(found: _Found, events: Events, told: Counter[str]) -> BoolArray:
    """(impressions,): final ones and those with an event; only these where views are sent."""
    touched, seen = np.zeros(len(found.final), dtype=bool), np.zeros(len(found.final), dtype=bool)
    touched[events.rows[events.rows >= 0]] = True
    seen[events.rows[events.of(Action.VIEW)]] = True
    # Some clients do not send views: those of most rankings with events tell that this one does.
    sends_views = seen.sum() > touched.sum() / 2
    kept = touched if sends_views else touched | found.final
    told["replaced before anything was done"] += int((~found.final & ~kept).sum())
    told["never viewed"] += int((found.final & ~kept).sum())
    return kept


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
