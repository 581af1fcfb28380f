"""Writes by the id that their caller gave them, so that one that is sent again is known: the SQL,
within a transaction that the caller holds."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

MOST_IDS = 1_000_000
# A write adds one id; it removes no more than so many that are too old, so that it takes no longer.
PRUNED_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class RequestId:
    """An id of a caller's, and the digest of what is to be written by it."""

    text: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class KnownWrite:
    """What was asked and answered: the last sequence number (0: nothing changed) and the count."""

    digest: bytes
    sequence: int
    count: int


def find_write(connection: sqlite3.Connection, request_id: RequestId) -> KnownWrite | None:
    """What was written by an id, whatever its content."""
    found = connection.execute(
        "SELECT digest, sequence, count FROM write_ids WHERE request_id = ?", (request_id.text,)
    ).fetchone()
    return None if found is None else KnownWrite(*found)


def put_write(
    connection: sqlite3.Connection, request_id: RequestId, sequence: int, count: int
) -> None:
    """Remembers a write."""
    connection.execute(
        "INSERT INTO write_ids (request_id, digest, sequence, count, written_seconds)"
        " VALUES (?, ?, ?, ?, ?)",
        (request_id.text, request_id.digest, sequence, count, int(time.time())),
    )


def prune_writes(connection: sqlite3.Connection, keep_seconds: float) -> None:
    """Forgets the oldest: those beyond the latest million, and those that are too old."""
    # Each from its end of the tree; asked for together they would take a scan of all.
    first, last = connection.execute(
        "SELECT ifnull((SELECT min(number) FROM write_ids), 0),"
        " ifnull((SELECT max(number) FROM write_ids), 0)"
    ).fetchone()
    connection.execute(
        "DELETE FROM write_ids WHERE number < :until"
        " AND (number <= :beyond OR written_seconds < :since)",
        {
            "until": first + PRUNED_AT_ONCE,
            "beyond": last - MOST_IDS,
            "since": time.time() - keep_seconds,
        },
    )
