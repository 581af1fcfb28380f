"""The database of a feedback log: what is not rolled to Parquet yet, and which events are known.

Written by the server's one writer; read and emptied by whoever rolls, in a process of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.feedback_types import Action, Event, EventRefusal, EventResult, EventStatus
from sidecar.storage.database import Database
from sidecar.storage.feedback.rows import (
    ImpressionRow,
    Shown,
    digest_of,
    hour_of,
    to_event_row,
    to_shown,
)
from sidecar.storage.feedback.tables import open_tables
from sidecar.storage.files import storage_errors

FILE_NAME = "log.sqlite"
IMPRESSIONS, EVENTS = "impressions", "events"
KINDS = (IMPRESSIONS, EVENTS)
# A transaction holds the server's writer up for as long as it takes: about a millisecond.
REMOVED_AT_ONCE = 300
_CREDITED = (Action.CLICK, Action.CART_ADDITION, Action.ORDER)
_EVENT_COLUMNS = (
    "event_id, impression_id, hour, answered, action, doc_id, value, time, received, joined"
)


@dataclass(frozen=True, slots=True)
class Submitted:
    """An event to log; `refused`, if set, is what it gets unless it was logged before."""

    event: Event
    refused: EventResult | None = None


@dataclass(frozen=True, slots=True)
class Credit:
    """A click, cart addition or order on a hit of an interleaved impression. `session` is a salted
    hash, "" if it is not known; `team` whose hit it was; `answered` when the ranking was."""

    session: str
    impression_id: str
    team: str
    answered: float


@dataclass(frozen=True, slots=True)
class Logged:
    """What became of an event, and whom it is a credit of, if of anybody."""

    result: EventResult
    credit: Credit | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A Parquet file on its way: of a kind, all rows of an hour up to a sequence number."""

    name: str
    kind: str
    hour: int
    upto: int
    written: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """The rows of a kind and an hour that are not rolled yet. `received`: when the
    first of the events was."""

    kind: str
    hour: int
    count: int
    received: float = 0.0


class Journal:
    """The database. Its methods block, and raise StorageError."""

    def __init__(self, folder: Path) -> None:
        """Opens or creates it."""
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE_NAME
        self._database = Database(self.path)
        try:
            with self._database.writing() as connection:
                open_tables(connection, self.path)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Closes the database. May be called twice."""
        self._database.close()

    # What the writer does

    def write(
        self, impressions: Sequence[ImpressionRow], batches: Sequence[Sequence[Submitted]]
    ) -> list[list[Logged]]:
        """Logs impressions, then events, in one transaction: once this returns, they are durable.

        An impression that is there already stays as it is.
        """
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO impressions (impression_id, hour, answered, content)"
                " VALUES (?, ?, ?, ?)",
                impressions,
            )
            shown = _ShownOnce(connection)
            return [[_log(connection, shown, one) for one in batch] for batch in batches]

    # What rolling does

    def backlog(self) -> list[Backlog]:
        """What is not rolled yet, by kind and hour. Rows of parts that are written do not count."""
        with self._database.reading() as connection:
            written = {
                (part.kind, part.hour): part.upto for part in _parts(connection) if part.written
            }
            return [
                Backlog(kind, hour, count, received)
                for kind in KINDS
                for hour, count, received in _backlog(connection, kind, written)
                if count
            ]

    def begin_part(self, kind: str, hour: int, name: str) -> Part:
        """Declares a file that will hold all rows of an hour that there are by now."""
        with self._database.writing() as connection:
            (upto,) = connection.execute(
                f"SELECT coalesce(max(sequence), 0) FROM {kind} WHERE hour = ?", (hour,)
            ).fetchone()
            connection.execute("INSERT INTO parts VALUES (?, ?, ?, ?, 0)", (name, kind, hour, upto))
        return Part(name, kind, hour, upto, written=False)

    def parts(self) -> list[Part]:
        """The files that were begun and are not finished."""
        with self._database.reading() as connection:
            return list(_parts(connection))

    def rows(self, part: Part, chunk: int) -> Iterator[list[sqlite3.Row]]:
        """The rows of a part in their order, so many at a time. They do not change meanwhile."""
        after = 0
        while True:
            with self._database.reading() as connection:
                cursor = connection.cursor()
                cursor.row_factory = sqlite3.Row
                found = cursor.execute(
                    f"SELECT * FROM {part.kind} WHERE hour = ? AND sequence > ? AND sequence <= ?"
                    " ORDER BY sequence LIMIT ?",
                    (part.hour, after, part.upto, chunk),
                ).fetchall()
            if not found:
                return
            yield found
            after = found[-1]["sequence"]

    def mark_written(self, part: Part) -> None:
        """The file is whole and on the disk under its name."""
        with self._database.writing() as connection:
            connection.execute("UPDATE parts SET written = 1 WHERE name = ?", (part.name,))

    def remove_some(self, part: Part) -> bool:
        """Removes some rows of a written part; when none is left, the part, too, and says False."""
        with self._database.writing() as connection:
            removed = connection.execute(
                f"DELETE FROM {part.kind} WHERE sequence IN (SELECT sequence FROM {part.kind}"
                " WHERE hour = ? AND sequence <= ? LIMIT ?)",
                (part.hour, part.upto, REMOVED_AT_ONCE),
            ).rowcount
            if removed < REMOVED_AT_ONCE:
                connection.execute("DELETE FROM parts WHERE name = ?", (part.name,))
            return removed == REMOVED_AT_ONCE

    def forget_some(self, before_hour: int) -> bool:
        """Forgets some ids of events of rankings that were answered before an hour; says whether
        there may be more."""
        with self._database.writing() as connection:
            forgotten = connection.execute(
                "DELETE FROM event_ids WHERE digest IN"
                " (SELECT digest FROM event_ids WHERE hour < ? LIMIT ?)",
                (before_hour, REMOVED_AT_ONCE),
            ).rowcount
            return forgotten == REMOVED_AT_ONCE

    def known_events(self) -> int:
        """How many events are known by their ids."""
        with self._database.reading() as connection:
            (count,) = connection.execute("SELECT count(*) FROM event_ids").fetchone()
            return int(count)


class _ShownOnce:
    """Impressions by id, each read once within a transaction; None for those that are not here."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._read: dict[str, Shown | None] = {}

    def get(self, impression_id: str) -> Shown | None:
        if impression_id not in self._read:
            row = self._connection.execute(
                "SELECT content FROM impressions WHERE impression_id = ?",
                (bytes.fromhex(impression_id),),
            ).fetchone()
            self._read[impression_id] = None if row is None else to_shown(row[0])
        return self._read[impression_id]


def _log(connection: sqlite3.Connection, impressions: _ShownOnce, submitted: Submitted) -> Logged:
    event, digest = submitted.event, digest_of(submitted.event.event_id)
    shown = impressions.get(event.impression_id)
    joined = shown is not None
    known = "SELECT 1 FROM event_ids WHERE digest = ?"
    if connection.execute(known, (digest,)).fetchone() is not None:
        return Logged(EventResult(event.event_id, EventStatus.DUPLICATE, joined=joined))
    if submitted.refused is not None:
        return Logged(submitted.refused)
    refused = None if shown is None else _not_of(shown, event)
    if refused is not None:
        return Logged(refused)
    connection.execute("INSERT INTO event_ids VALUES (?, ?)", (digest, hour_of(event.answered)))
    connection.execute(
        f"INSERT INTO events ({_EVENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        to_event_row(event, joined),
    )
    accepted = EventResult(event.event_id, EventStatus.ACCEPTED, joined=joined)
    return Logged(accepted, _credit(event, shown))


def _not_of(shown: Shown, event: Event) -> EventResult | None:
    """What an event gets that cannot be one of this impression; None if it can."""
    count = len(shown.teams)
    if event.action is Action.VIEW:
        if event.value is None or event.value <= count:
            return None
        refusal = EventRefusal.INVALID_FIELD
        detail = f"view.last_rank: is {event.value:g}; the ranking has {count} hits"
    elif event.doc_id in shown.teams:
        return None
    else:
        refusal = EventRefusal.UNKNOWN_DOCUMENT
        detail = f"doc_id: the ranking did not show {event.doc_id!r}"
    return EventResult(event.event_id, EventStatus.REFUSED, refusal, detail, joined=True)


def _credit(event: Event, shown: Shown | None) -> Credit | None:
    if shown is None or not shown.interleaved or event.action not in _CREDITED:
        return None
    team = shown.teams[event.doc_id]
    return Credit(shown.session, event.impression_id, team, event.answered)


def _parts(connection: sqlite3.Connection) -> Iterator[Part]:
    rows = connection.execute("SELECT name, kind, hour, upto, written FROM parts ORDER BY rowid")
    for name, kind, hour, upto, written in rows.fetchall():
        yield Part(name, kind, hour, upto, bool(written))


def _backlog(
    connection: sqlite3.Connection, kind: str, written: Mapping[tuple[str, int], int]
) -> Iterator[tuple[int, int, float]]:
    """Hour, count and first `received` (of events) of the rows that no written part holds."""
    received = "min(received)" if kind == EVENTS else "0.0"
    hours: list[Any] = connection.execute(f"SELECT DISTINCT hour FROM {kind}").fetchall()
    for (hour,) in hours:
        row = connection.execute(
            f"SELECT count(*), {received} FROM {kind} WHERE hour = ? AND sequence > ?",
            (hour, written.get((kind, hour), 0)),
        ).fetchone()
        yield hour, row[0], row[1] or 0.0
