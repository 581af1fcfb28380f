"""Click logs from the Parquet files that the sidecar's feedback log writes.

What is left out is counted by its reason in a Counter, if the caller gives one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidecar.errors import InputFileError
from sidecar.feedback_types import Action
from training.clicks.columns import (
    ACTIONS,
    MOST_RANKS,
    Events,
    Impressions,
    Names,
    build,
)
from training.clicks.log import UNSHOWN, BoolArray, ClickLog, FloatArray, IntArray

Refuse = Callable[[int, str], None]
_HIT = "hits.list.element"
_COLUMNS = {
    "impressions": [
        *("impression_id", "answered", "query", "collection", "session", "final"),
        *("exploration_share", "swapped_rank", f"{_HIT}.doc_id", f"{_HIT}.rank"),
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
    replaced before the user did anything, later pages of a ranking, whose ranks are looked at by
    those only who turned to them, and, where the client sends views, those that were never viewed.
    Raises InputFileError for a folder without impressions, and for several collections when
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
    return _to_found(_first_pages(table, told))


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


def _first_pages(table: Any, told: Counter[str]) -> Any:
    """The impressions whose hits are ranked from 1, and those without hits."""
    import pyarrow.compute as pc

    lengths = _numbers(pc.fill_null(pc.list_value_length(table["hits"]), 0))
    ranks = np.concatenate(
        [chunk.flatten().field("rank").to_numpy(False) for chunk in table["hits"].chunks]
    )
    begins, some = np.cumsum(lengths) - lengths, lengths > 0
    first = np.ones(len(lengths), dtype=bool)
    first[some] = ranks[begins[some]] == 1
    told["later pages"] += int((~first).sum())
    return table if first.all() else table.filter(first)


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
