"""Rolling to Parquet: every row once, whatever is killed or comes meanwhile; what is old goes."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from feedbacks import (
    HOUR,
    NOON,
    an_event,
    an_id,
    an_impression,
    event_ids,
    impression_ids,
    in_database,
    in_parquet,
    submitted,
)

from sidecar.config import FeedbackConfig
from sidecar.errors import StorageError
from sidecar.feedback_types import Action, EventStatus
from sidecar.storage.feedback import journal as journals
from sidecar.storage.feedback import parquet
from sidecar.storage.feedback import roll as rolling
from sidecar.storage.feedback.journal import Backlog, Journal
from sidecar.storage.feedback.log import FeedbackLog
from sidecar.storage.feedback.roll import due, everything, is_over, roll
from sidecar.storage.feedback.rows import hour_of, to_row
from sidecar.storage.feedback.status import read_status

LONG_AFTER = NOON + 40 * HOUR


def write(folder: Path, impressions: list[Any], events: list[Any]) -> None:
    journal = Journal(folder)
    journal.write([to_row(one) for one in impressions], [submitted(*events)])
    journal.close()


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_what_is_rolled_is_what_was_logged(tmp_path: Path) -> None:
    one = an_impression(
        1,
        caller="shop",
        user="abcd",
        variant="canary",
        revision=3,
        index_revision=77,
        degraded=True,
        exploration_share=0.02,
        swapped_rank=2,
        interleaved=True,
    )
    theirs = dataclasses.replace(one.stages[0], model_revision="the canary's")
    one = dataclasses.replace(one, canary_stages=(theirs,))
    write(tmp_path, [one], [an_event("e", 1, action=Action.DWELL, value=31.5)])
    rolled = roll(tmp_path, LONG_AFTER)
    assert (rolled.files, rolled.rows) == (2, 2)
    (row,) = in_parquet(tmp_path, "impressions")
    hits, stages, canary_stages = (row.pop(name) for name in ("hits", "stages", "canary_stages"))
    assert row == {
        "folder": f"hour={moment(NOON):%Y-%m-%dT%H}",
        "impression_id": an_id(1),
        "answered": moment(NOON + 5.5),
        "query": "größe 1",
        "collection": "things",
        "index_revision": 77,
        "caller": "shop",
        "session": "5e55",
        "user": "abcd",
        "variant": "canary",
        "revision": 3,
        "stage": "FIRST_RERANK",
        "final": True,
        "degraded": True,
        "exploration_share": 0.02,
        "swapped_rank": 2,
        "interleaved": True,
    }
    for hit, shown in zip(hits, one.hits, strict=True):
        scores = [{**score._asdict(), "stage": score.stage.name} for score in shown.scores]
        expected = {**dataclasses.asdict(shown), "stage": shown.stage.name, "scores": scores}
        assert hit == expected
    report = dataclasses.asdict(one.stages[0])
    names = {"stage": "FIRST_RERANK", "state": "COMPLETE", "reason": "NONE"}
    assert stages == [{**report, **names}]
    assert canary_stages == [{**report, **names, "model_revision": "the canary's"}]
    (event,) = in_parquet(tmp_path, "events")
    assert event == {
        "folder": f"hour={moment(NOON):%Y-%m-%dT%H}",
        "event_id": "e",
        "impression_id": an_id(1),
        "answered": moment(NOON + 5.5),
        "time": moment(NOON + 9.25),
        "received": moment(NOON + 9.5),
        "action": "dwell",
        "doc_id": "d1",
        "value": 31.5,
        "joined": True,
    }
    assert in_database(tmp_path, "SELECT count(*) FROM impressions") == [(0,)]
    assert in_database(tmp_path, "SELECT count(*) FROM events") == [(0,)]


def test_late_events_are_found_with_their_impressions(tmp_path: Path) -> None:
    write(tmp_path, [an_impression(1)], [an_event("early", 1)])
    roll(tmp_path, NOON + 2 * HOUR)
    late = an_event("late", 1, "d0", time=NOON + 9 * HOUR, received=NOON + 9 * HOUR)
    write(tmp_path, [an_impression(2, NOON + 9 * HOUR)], [late])
    roll(tmp_path, NOON + 16 * HOUR)
    events = ds.dataset(tmp_path / "events", partitioning="hive").to_table()
    impressions = ds.dataset(tmp_path / "impressions", partitioning="hive").to_table()
    keys = ["impression_id", "hour"]
    joined = events.join(impressions.select([*keys, "query"]), keys, join_type="inner").to_pylist()
    found = {row["event_id"]: (row["query"], row["joined"]) for row in joined}
    assert found == {"early": ("größe 1", True), "late": ("größe 1", False)}


def backlog(kind: str, hour: int, received: float = 0.0) -> Backlog:
    return Backlog(kind, hour_of(NOON) + hour, 1, received)


def test_an_hour_is_due_a_quarter_of_an_hour_after_its_end() -> None:
    rows = [backlog("impressions", 0), backlog("events", 0, NOON + HOUR + 890)]
    assert due(rows, NOON + HOUR + 899) == []
    assert due(rows, NOON + HOUR + 900) == rows
    assert is_over(rows, NOON + HOUR - 1) == []
    assert is_over(rows, NOON + HOUR) == rows
    assert everything(rows, NOON) == rows


def test_late_events_wait_for_others() -> None:
    rows = [backlog("impressions", 1), backlog("events", 0, NOON + 2 * HOUR)]
    assert due(rows, NOON + 8 * HOUR) == rows[:1]
    assert due(rows, NOON + 8 * HOUR + 1) == rows


# Killed anywhere


def child(folder: str, where: str) -> None:
    """Rolls all there is and is killed on the way: `where` is FUNCTION:before|after:CALL."""
    name, side, number = where.split(":")
    owner: Any = Journal if hasattr(Journal, name) else parquet
    original, calls = getattr(owner, name), []

    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        calls.append(1)
        if side == "before" and len(calls) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **keywords)
        if side == "after" and len(calls) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)
    journals.REMOVED_AT_ONCE = 3
    rolling.CHUNK_ROWS = 4
    roll(Path(folder), LONG_AFTER, everything)


KILLED = [
    *("begin_part:before:1", "begin_part:after:1", "begin_part:after:2"),
    *("write_file:before:1", "write_file:after:1", "sync_file:before:1", "sync_file:after:1"),
    *("mark_written:before:1", "mark_written:after:1", "mark_written:after:2"),
    *("remove_some:before:1", "remove_some:after:1", "remove_some:after:2", "remove_some:after:4"),
]


@pytest.mark.parametrize("where", KILLED)
def test_killed_anywhere_every_row_is_there_once(tmp_path: Path, where: str) -> None:
    write(
        tmp_path,
        [an_impression(n) for n in range(10)],
        [an_event(f"e{n}", n) for n in range(10)],
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    call = f"import test_roll; test_roll.child({str(tmp_path)!r}, {where!r})"
    process = subprocess.run([sys.executable, "-c", call], env={**os.environ, "PYTHONPATH": path})
    assert process.returncode == -signal.SIGKILL
    # What comes between the kill and the next start.
    write(tmp_path, [an_impression(10)], [an_event("e10", 3), an_event("e3", 3)])
    roll(tmp_path, LONG_AFTER, everything)
    assert impression_ids(tmp_path) == {an_id(n): 1 for n in range(11)}
    assert event_ids(tmp_path) == {f"e{n}": 1 for n in range(11)}
    assert in_database(tmp_path, "SELECT * FROM parts") == []
    assert not list(tmp_path.rglob("*.new"))


def test_what_is_logged_while_it_is_rolled_is_there_once(tmp_path: Path) -> None:
    log, ended = FeedbackLog(tmp_path, 10_000, 10_000), threading.Event()

    def keep_rolling() -> None:
        while not ended.is_set():
            roll(tmp_path, LONG_AFTER, everything)

    roller = threading.Thread(target=keep_rolling)
    roller.start()
    accepted = 0
    for number in range(150):
        log.put(lambda n=number: an_impression(n), 3)
        events = submitted(an_event(f"e{number}", number), an_event(f"e{number - 40}", number))
        logged = log.submit(events).result(20)
        accepted += [one.result.status for one in logged].count(EventStatus.ACCEPTED)
    ended.set()
    roller.join()
    log.close()
    assert accepted == 190
    expected = {f"e{number}" for number in range(-40, 150)}
    assert event_ids(tmp_path) == dict.fromkeys(expected, 1)
    assert impression_ids(tmp_path) == {an_id(number): 1 for number in range(150)}
    assert len(in_parquet(tmp_path, "events")) > 0


def test_two_that_roll_at_once_roll_everything_once(tmp_path: Path) -> None:
    numbers = range(300)
    write(tmp_path, [an_impression(n) for n in numbers], [an_event(f"e{n}", n) for n in numbers])
    command = [sys.executable, "-m", "sidecar.storage.feedback.roll", str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said == [
        "0 rows rolled to 0 files, 0 old hours gone\n",
        "600 rows rolled to 2 files, 0 old hours gone\n",
    ]
    assert event_ids(tmp_path) == {f"e{n}": 1 for n in numbers}
    assert impression_ids(tmp_path) == {an_id(n): 1 for n in numbers}


def test_on_a_full_disk_the_rows_stay_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, [an_impression(1)], [an_event("e", 1)])
    with monkeypatch.context() as full:

        def fail(path: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        full.setattr(parquet, "sync_file", fail)
        with pytest.raises(StorageError, match="the disk is full"):
            roll(tmp_path, LONG_AFTER)
    assert not list(tmp_path.rglob("*.parquet*"))
    assert len(in_database(tmp_path, "SELECT * FROM impressions")) == 1
    roll(tmp_path, LONG_AFTER)
    assert event_ids(tmp_path) == {"e": 1}
    assert impression_ids(tmp_path) == {an_id(1): 1}


# What is old


def hours_there(folder: Path, kind: str) -> list[str]:
    return [path.name for path in sorted((folder / kind).iterdir())]


def test_old_hours_are_removed_and_no_others(tmp_path: Path) -> None:
    old, young = NOON, NOON + 3 * HOUR
    for number, answered in enumerate((old, young)):
        write(
            tmp_path,
            [an_impression(number, answered)],
            [an_event(f"e{number}", number, answered=answered)],
        )
    limits, now = FeedbackConfig(retention_days=2.0), NOON + 50 * HOUR
    assert roll(tmp_path, now).hours_removed == 0
    kept = FeedbackConfig(retention_days=0.0)
    assert roll(tmp_path, now + 1e9, limits=kept).hours_removed == 0
    (tmp_path / "impressions" / "notes").mkdir()
    (tmp_path / "impressions" / "hour=never").mkdir()
    assert roll(tmp_path, now, limits=limits).hours_removed == 2
    name = f"hour={moment(young):%Y-%m-%dT%H}"
    assert hours_there(tmp_path, "events") == [name]
    assert hours_there(tmp_path, "impressions") == [name, "hour=never", "notes"]


def test_ids_of_events_are_known_for_a_day_longer_than_tokens_are_good(tmp_path: Path) -> None:
    write(tmp_path, [], [an_event("e", 1)])
    limits = FeedbackConfig(token_hours=10.0)
    known = "SELECT count(*) FROM event_ids"
    roll(tmp_path, NOON + 34 * HOUR, limits=limits)
    assert in_database(tmp_path, known) == [(1,)]
    roll(tmp_path, NOON + 35 * HOUR, limits=limits)
    assert in_database(tmp_path, known) == [(0,)]


def test_the_status_counts_everything_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, [an_impression(n) for n in range(4)], [an_event("e", 1)])
    roll(tmp_path, LONG_AFTER)
    write(tmp_path, [an_impression(9, NOON + 5 * HOUR)], [an_event("f", 1), an_event("g", 1)])
    status = read_status(tmp_path)
    impressions, events = status.kinds["impressions"], status.kinds["events"]
    assert (impressions.in_log, impressions.rolled, impressions.files) == (1, 4, 1)
    assert (events.in_log, events.rolled, events.files) == (2, 1, 1)
    assert impressions.oldest_hour == f"{moment(NOON):%Y-%m-%dT%H}"
    assert impressions.newest_hour == f"{moment(NOON + 5 * HOUR):%Y-%m-%dT%H}"
    assert status.known_events == 3
    files = [path.stat().st_size for path in tmp_path.rglob("*.parquet")]
    assert impressions.bytes + events.bytes == sum(files)
    # Written, but its rows not yet removed.
    monkeypatch.setattr(Journal, "remove_some", lambda *_: False)
    roll(tmp_path, LONG_AFTER, everything)
    status = read_status(tmp_path)
    assert (status.kinds["events"].in_log, status.kinds["events"].rolled) == (0, 3)
    assert (status.kinds["impressions"].in_log, status.kinds["impressions"].rolled) == (0, 5)
