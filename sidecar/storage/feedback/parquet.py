"""Impressions and events as Parquet: the schema that the offline side reads, and whole files.

    FOLDER/impressions/hour=2026-11-21T14/NAME.parquet    one row an impression, hits as a list
    FOLDER/events/hour=2026-11-21T14/NAME.parquet         one row an event, by its impression's hour

Needs pyarrow, which nothing else of the serving program imports.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sidecar.storage.feedback.journal import EVENTS, IMPRESSIONS
from sidecar.storage.feedback.rows import from_content, hour_from_name, hour_name
from sidecar.storage.files import storage_errors, sync_file, sync_folder

HOUR_PREFIX = "hour="
ROW_GROUP_BYTES = 32 * 1024 * 1024
_TIME = pa.timestamp("us", tz="UTC")
_SCORE = pa.struct(
    [
        ("stage", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float64()),
        ("model_score", pa.float64()),
    ]
)
_HIT = pa.struct(
    [
        ("doc_id", pa.string()),
        ("rank", pa.int32()),
        ("stage", pa.string()),
        ("score", pa.float64()),
        ("logit", pa.float64()),
        ("probability", pa.float64()),
        ("team", pa.string()),
        ("scores", pa.list_(_SCORE)),
    ]
)
_STAGE = pa.struct(
    [
        ("stage", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("model", pa.string()),
        ("model_revision", pa.string()),
        ("template_digest", pa.string()),
        ("candidates_in", pa.int64()),
        ("candidates_out", pa.int64()),
        ("candidates_cached", pa.int64()),
        ("elapsed_milliseconds", pa.float64()),
        ("queue_milliseconds", pa.float64()),
        ("answered_share", pa.float64()),
    ]
)
SCHEMAS = {
    IMPRESSIONS: pa.schema(
        [
            ("impression_id", pa.string()),
            ("answered", _TIME),
            ("query", pa.string()),
            ("collection", pa.string()),
            ("index_revision", pa.int64()),
            ("caller", pa.string()),
            ("session", pa.string()),
            ("user", pa.string()),
            ("variant", pa.string()),
            ("revision", pa.int32()),
            ("stage", pa.string()),
            ("final", pa.bool_()),
            ("degraded", pa.bool_()),
            ("exploration_share", pa.float64()),
            ("swapped_rank", pa.int32()),
            ("interleaved", pa.bool_()),
            ("hits", pa.list_(_HIT)),
            ("stages", pa.list_(_STAGE)),
            ("canary_stages", pa.list_(_STAGE)),
        ]
    ),
    EVENTS: pa.schema(
        [
            ("event_id", pa.string()),
            ("impression_id", pa.string()),
            ("answered", _TIME),
            ("time", _TIME),
            ("received", _TIME),
            ("action", pa.string()),
            ("doc_id", pa.string()),
            ("value", pa.float64()),
            ("joined", pa.bool_()),
        ]
    ),
}


def hour_folder(folder: Path, kind: str, hour: int) -> Path:
    """Where the files of a kind and an hour are."""
    return folder / kind / f"{HOUR_PREFIX}{hour_name(hour)}"


def hour_folders(folder: Path, kind: str) -> Iterator[tuple[int, Path]]:
    """The hours of a kind that are there, oldest first."""
    for path in sorted((folder / kind).glob(f"{HOUR_PREFIX}*")):
        try:
            yield hour_from_name(path.name.removeprefix(HOUR_PREFIX)), path
        except ValueError:
            continue


def write_file(path: Path, kind: str, chunks: Iterable[Sequence[sqlite3.Row]]) -> int:
    """Writes rows of the log as one file, which is there whole and durable or not at all; replaces
    what has its name. Returns how many. Raises StorageError."""
    temporary = path.with_name(f".{path.name}.new")  # readers of Parquet pass over such names
    with storage_errors(path):
        _make_folder(path.parent)
        try:
            count = _write(temporary, kind, chunks)
            sync_file(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    return count


def count_rows(path: Path) -> int:
    """Rows of a file."""
    with storage_errors(path):
        return int(pq.read_metadata(path).num_rows)


def _write(path: Path, kind: str, chunks: Iterable[Sequence[sqlite3.Row]]) -> int:
    schema, count = SCHEMAS[kind], 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in _row_groups(kind, chunks):
            writer.write_table(table, row_group_size=len(table))
            count += len(table)
    return count


def _row_groups(kind: str, chunks: Iterable[Sequence[sqlite3.Row]]) -> Iterator[Any]:
    """Tables of about ROW_GROUP_BYTES, of small ones: rows take much more memory as objects."""
    schema, tables, held = SCHEMAS[kind], [], 0
    to_columns = _from_impression if kind == IMPRESSIONS else _from_event
    for rows in chunks:
        table = pa.Table.from_pylist([to_columns(row) for row in rows], schema=schema)
        tables.append(table)
        held += table.nbytes
        if held >= ROW_GROUP_BYTES:
            yield pa.concat_tables(tables).combine_chunks()
            tables, held = [], 0
    if tables:
        yield pa.concat_tables(tables).combine_chunks()


def _make_folder(folder: Path) -> None:
    """Makes a folder and those above it, durably."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        sync_folder(one.parent)


def _from_impression(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "impression_id": row["impression_id"].hex(),
        "answered": _to_time(row["answered"]),
        **from_content(row["content"]),
    }


def _from_event(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "event_id": row["event_id"],
        "impression_id": row["impression_id"].hex(),
        "answered": _to_time(row["answered"]),
        "time": _to_time(row["time"]),
        "received": _to_time(row["received"]),
        "action": row["action"],
        "doc_id": row["doc_id"] or None,
        "value": row["value"],
        "joined": bool(row["joined"]),
    }


def _to_time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
