"""What a feedback log holds: counts, bytes, oldest and newest hour."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from sidecar.storage.feedback import parquet
from sidecar.storage.feedback.journal import KINDS, Journal
from sidecar.storage.feedback.rows import hour_name


@dataclass(frozen=True, slots=True)
class KindStatus:
    """Impressions, or events: rows in the log's database and in Parquet. Hours are names, "" if
    there is none."""

    in_log: int
    rolled: int
    files: int
    bytes: int
    oldest_hour: str
    newest_hour: str


@dataclass(frozen=True, slots=True)
class Status:
    """A whole log, by kind; ids of events that are known as logged, and the database's size."""

    kinds: dict[str, KindStatus]
    known_events: int
    log_bytes: int


def read_status(folder: Path) -> Status:
    """Reads all of it, also while a server writes. Raises StorageError."""
    with contextlib.closing(Journal(folder)) as journal:
        backlog, known = journal.backlog(), journal.known_events()
    in_log: dict[str, dict[int, int]] = {kind: {} for kind in KINDS}
    for one in backlog:
        in_log[one.kind][one.hour] = one.count
    kinds = {kind: _kind_status(folder, kind, in_log[kind]) for kind in KINDS}
    log_bytes = sum(path.stat().st_size for path in folder.glob("log.sqlite*"))
    return Status(kinds, known, log_bytes)


def _kind_status(folder: Path, kind: str, in_log: dict[int, int]) -> KindStatus:
    folders = dict(parquet.hour_folders(folder, kind))
    files = [path for one in folders.values() for path in sorted(one.glob("*.parquet"))]
    hours = [*in_log, *folders]
    return KindStatus(
        in_log=sum(in_log.values()),
        rolled=sum(map(parquet.count_rows, files)),
        files=len(files),
        bytes=sum(path.stat().st_size for path in files),
        oldest_hour=hour_name(min(hours)) if hours else "",
        newest_hour=hour_name(max(hours)) if hours else "",
    )
