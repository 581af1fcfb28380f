"""Hours that are over go from the log's database to Parquet, each row once, whatever is killed.

    declare (which rows, which name) -> write the file, whole -> mark it written -> remove the rows

Killed before the mark, the same rows are written again to the same name; killed after it, the rest
of the rows is removed. Rows are chosen by hour and sequence number, so what is logged meanwhile,
late events say, is left for the next file of that hour.

The server runs this in a process of its own (`roller.py`), so that neither pyarrow nor an hour's
rows come near the event loop.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sidecar.config import FeedbackConfig
from sidecar.errors import SidecarError
from sidecar.storage.feedback.journal import IMPRESSIONS, KINDS, Backlog, Journal, Part
from sidecar.storage.feedback.rows import HOUR_SECONDS, hour_of
from sidecar.storage.files import remove_tree, storage_errors, sync_folder

# After an hour is over, how long it waits for events, which are checked and credited while their
# impression is in the log.
DELAY_SECONDS = 900.0
# Events that come once their hour is rolled wait for others, lest each gets a file of its own.
LATE_SECONDS = 6 * 3600.0
# Ids of events are known for longer than their tokens are good: an event that is sent again so late
# must not be told that it was never logged.
KNOWN_LONGER_SECONDS = 86_400.0
CHUNK_ROWS = 200
# Between two removals, for the server's writer.
PAUSE_SECONDS = 0.02
LOCK_NAME = "rolling.lock"

Choose = Callable[[Sequence[Backlog], float], Sequence[Backlog]]


@dataclass(frozen=True, slots=True)
class Rolled:
    """What was done: files written, their rows, and hours of Parquet that were removed."""

    files: int = 0
    rows: int = 0
    hours_removed: int = 0


def due(backlog: Sequence[Backlog], now: float) -> list[Backlog]:
    """What a server rolls at a time: hours that are over for long enough, and late events that have
    waited for others for long enough."""
    with_impressions = {one.hour for one in backlog if one.kind == IMPRESSIONS}
    return [
        one
        for one in backlog
        if one.hour < hour_of(now - DELAY_SECONDS)
        and (one.hour in with_impressions or one.received < now - LATE_SECONDS)
    ]


def is_over(backlog: Sequence[Backlog], now: float) -> list[Backlog]:
    """All of hours that are over."""
    return [one for one in backlog if one.hour < hour_of(now)]


def everything(backlog: Sequence[Backlog], now: float) -> Sequence[Backlog]:
    """All that there is, of the hour under way, too."""
    return backlog


def roll(
    folder: Path, now: float, choose: Choose = due, limits: FeedbackConfig | None = None
) -> Rolled:
    """Finishes what was begun, rolls what is chosen, and removes what is older than `limits` say.

    Raises StorageError; what was not rolled is rolled next time. Blocks while another process
    rolls the same log.
    """
    with _lock(folder), contextlib.closing(Journal(folder)) as journal:
        begun = journal.parts()
        rows = sum(_finish(journal, folder, part) for part in begun)
        chosen = choose(journal.backlog(), now)
        for one in chosen:
            part = journal.begin_part(one.kind, one.hour, f"{uuid.uuid4().hex}.parquet")
            rows += _finish(journal, folder, part)
        removed = 0
        if limits is not None:
            removed = _remove_old(folder, limits.retention_days, now)
            _forget_events(journal, limits.token_hours, now)
    return Rolled(len(begun) + len(chosen), rows, removed)


def _finish(journal: Journal, folder: Path, part: Part) -> int:
    from sidecar.storage.feedback import parquet

    count = 0
    if not part.written:
        path = parquet.hour_folder(folder, part.kind, part.hour) / part.name
        count = parquet.write_file(path, part.kind, journal.rows(part, CHUNK_ROWS))
        journal.mark_written(part)
    while journal.remove_some(part):
        time.sleep(PAUSE_SECONDS)
    return count


def _remove_old(folder: Path, retention_days: float, now: float) -> int:
    """Removes the hours that are older than the retention; 0 keeps all. Says how many."""
    from sidecar.storage.feedback import parquet

    if not retention_days:
        return 0
    oldest = hour_of(now - retention_days * 86_400.0)
    old = [
        path for kind in KINDS for hour, path in parquet.hour_folders(folder, kind) if hour < oldest
    ]
    for path in old:
        with storage_errors(path):
            remove_tree(path)
            sync_folder(path.parent)
    return len(old)


def _forget_events(journal: Journal, token_hours: float, now: float) -> None:
    before = hour_of(now - token_hours * HOUR_SECONDS - KNOWN_LONGER_SECONDS)
    while journal.forget_some(before):
        time.sleep(PAUSE_SECONDS)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One process at a time rolls a log; the others wait. Gone with the process that holds it."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def main(arguments: Sequence[str] | None = None) -> int:
    """The process that a server starts: rolls what is due, niced."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--retention-days", type=float)
    parser.add_argument("--token-hours", type=float)
    given = parser.parse_args(arguments)
    os.nice(19)
    limits = None
    if given.token_hours is not None:
        limits = FeedbackConfig(retention_days=given.retention_days, token_hours=given.token_hours)
    try:
        rolled = roll(given.folder, time.time(), limits=limits)
    except SidecarError as error:
        print(error.message)
        return 1
    print(
        f"{rolled.rows} rows rolled to {rolled.files} files, {rolled.hours_removed} old hours gone"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
