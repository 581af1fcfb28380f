"""Impressions and events of tests, and what was logged of them, read without the sidecar's code."""

from __future__ import annotations

import collections
import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sidecar.feedback_types import Action, Event, Impression, ShownHit
from sidecar.storage.feedback.journal import Submitted
from sidecar.storage.feedback.log import FeedbackLog
from sidecar.types import Stage, StageReport, StageScore, StageState

HOUR = 3600
NOON = 1_790_000_000 // HOUR * HOUR  # the beginning of an hour
WAIT_SECONDS = 20


def an_id(number: int) -> str:
    """32 hex digits."""
    return f"{number:032x}"


def an_impression(number: int, answered: float = NOON + 5.5, **changes: Any) -> Impression:
    """One that shows d0, d1 and d2."""
    hits = tuple(
        ShownHit(
            doc_id=f"d{index}",
            rank=index + 1,
            stage=Stage.FIRST_RERANK,
            score=1.0 - index / 8,
            logit=None if index else 2.5,
            probability=0.75,
            scores=(StageScore(Stage.FUSED, index + 2, 0.5), StageScore(Stage.FIRST_RERANK, 1)),
            team="canary" if index % 2 else "production",
        )
        for index in range(3)
    )
    report = StageReport(Stage.FIRST_RERANK, StageState.COMPLETE, model="m", model_revision="7")
    values: dict[str, Any] = {
        "impression_id": an_id(number),
        "answered": answered,
        "query": f"größe {number}",
        "hits": hits,
        "stages": (report,),
        "collection": "things",
        "session": "5e55",
        "stage": Stage.FIRST_RERANK,
    }
    return Impression(**(values | changes))


def an_event(event_id: str, number: int, doc_id: str = "d1", **changes: Any) -> Event:
    """A click on a hit of the impression of that number."""
    values: dict[str, Any] = {
        "event_id": event_id,
        "impression_id": an_id(number),
        "answered": NOON + 5.5,
        "action": Action.CLICK,
        "time": NOON + 9.25,
        "received": NOON + 9.5,
        "doc_id": doc_id,
    }
    return Event(**(values | changes))


def submitted(*events: Event) -> list[Submitted]:
    """To be logged."""
    return [Submitted(event) for event in events]


class Hold:
    """Keeps a log's writer in the middle of its work until it is opened."""

    def __init__(self, log: FeedbackLog) -> None:
        self.opened, self._reached = threading.Event(), threading.Event()
        log.put(self._wait, 1)
        assert self._reached.wait(WAIT_SECONDS)

    def _wait(self) -> Impression:
        self._reached.set()
        assert self.opened.wait(WAIT_SECONDS)
        return an_impression(999_999)


def in_database(folder: Path, statement: str) -> list[Any]:
    """Rows of the log's database."""
    with contextlib.closing(sqlite3.connect(folder / "log.sqlite")) as connection:
        return connection.execute(statement).fetchall()


def in_parquet(folder: Path, kind: str) -> list[dict[str, Any]]:
    """All rows of all whole files, with the folder of their hour."""
    rows = []
    for path in sorted((folder / kind).glob("hour=*/[!.]*")):
        for row in pq.read_table(path, partitioning=None).to_pylist():
            rows.append({**row, "folder": path.parent.name})
    return rows


def event_ids(folder: Path) -> collections.Counter[str]:
    """How often each event is there, in the database or in Parquet."""
    return collections.Counter(
        [
            *(event_id for (event_id,) in in_database(folder, "SELECT event_id FROM events")),
            *(row["event_id"] for row in in_parquet(folder, "events")),
        ]
    )


def impression_ids(folder: Path) -> collections.Counter[str]:
    """The same of impressions."""
    return collections.Counter(
        [
            *(one.hex() for (one,) in in_database(folder, "SELECT impression_id FROM impressions")),
            *(row["impression_id"] for row in in_parquet(folder, "impressions")),
        ]
    )
