"""The feedback log: what was acknowledged is in the file, once; what cannot be written is told."""

from __future__ import annotations

import concurrent.futures
import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from feedbacks import (
    NOON,
    WAIT_SECONDS,
    Hold,
    an_event,
    an_id,
    an_impression,
    event_ids,
    impression_ids,
    in_database,
    submitted,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import OverloadedError, StorageError
from sidecar.feedback_types import Action, Event, EventRefusal, EventResult, EventStatus, Impression
from sidecar.metrics import FEEDBACK_IMPRESSIONS
from sidecar.storage.feedback.journal import Credit, Journal, Logged, Submitted
from sidecar.storage.feedback.log import FeedbackLog
from sidecar.storage.feedback.rows import to_row
from sidecar.storage.feedback.tables import APPLICATION_ID

ACCEPTED, DUPLICATE, REFUSED = EventStatus.ACCEPTED, EventStatus.DUPLICATE, EventStatus.REFUSED


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FeedbackLog]:
    opened = FeedbackLog(tmp_path, queue_impressions=10, queue_events=20)
    yield opened
    opened.close()


def put(log: FeedbackLog, impression: Impression) -> bool:
    return log.put(lambda: impression, len(impression.hits))


def results(log: FeedbackLog, *events: Event) -> list[EventResult]:
    return [one.result for one in logged(log, *events)]


def logged(log: FeedbackLog, *events: Event) -> list[Logged]:
    return log.submit(submitted(*events)).result(WAIT_SECONDS)


def statuses(log: FeedbackLog, *events: Event) -> list[EventStatus]:
    return [result.status for result in results(log, *events)]


def dropped() -> float:
    return FEEDBACK_IMPRESSIONS.labels("dropped")._value.get()


def test_an_event_that_is_answered_is_in_the_file_and_its_impression_with_it(
    log: FeedbackLog, tmp_path: Path
) -> None:
    put(log, an_impression(1))
    (result,) = results(log, an_event("e1", 1, action=Action.ORDER, value=12.5))
    assert result == EventResult("e1", ACCEPTED, joined=True)
    columns = "event_id, hex(impression_id), hour, answered, action, doc_id, value, time, received"
    assert in_database(tmp_path, f"SELECT {columns}, joined FROM events") == [
        ("e1", an_id(1), NOON // 3600, NOON + 5.5, "order", "d1", 12.5, NOON + 9.25, NOON + 9.5, 1)
    ]
    assert list(impression_ids(tmp_path)) == [an_id(1)]
    assert in_database(tmp_path, "PRAGMA journal_mode") == [("wal",)]


def test_impressions_are_written_without_events_before_long(
    log: FeedbackLog, tmp_path: Path
) -> None:
    put(log, an_impression(1))
    wait_for_impressions(tmp_path, 1)
    assert list(impression_ids(tmp_path)) == [an_id(1)]


def wait_for_impressions(folder: Path, count: int) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while len(impression_ids(folder)) < count and time.monotonic() < until:
        threading.Event().wait(0.02)


def test_events_do_not_wait_for_company_nor_does_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.storage.feedback.log.COMPANY_SECONDS", 1000.0)
    log = FeedbackLog(tmp_path, 10, 20)
    put(log, an_impression(1))
    assert statuses(log, an_event("e", 1)) == [ACCEPTED]
    put(log, an_impression(2))
    log.close()
    assert len(impression_ids(tmp_path)) == 2


def test_the_first_of_several_with_one_id_stands(log: FeedbackLog, tmp_path: Path) -> None:
    put(log, an_impression(1))
    first, again = an_event("e", 1, "d0"), an_event("e", 1, "d2")
    assert statuses(log, first, again) == [ACCEPTED, DUPLICATE]
    assert statuses(log, an_event("e", 7)) == [DUPLICATE]
    assert in_database(tmp_path, "SELECT doc_id FROM events") == [("d0",)]


def test_a_document_that_was_not_shown_is_refused_and_may_be_corrected(
    log: FeedbackLog, tmp_path: Path
) -> None:
    put(log, an_impression(1))
    (result,) = results(log, an_event("e", 1, "d9"))
    assert (result.status, result.refusal) == (REFUSED, EventRefusal.UNKNOWN_DOCUMENT)
    assert "'d9'" in result.detail
    assert result.joined
    assert not event_ids(tmp_path)
    assert statuses(log, an_event("e", 1, "d2")) == [ACCEPTED]


def test_without_its_impression_an_event_is_taken_unchecked(log: FeedbackLog) -> None:
    assert results(log, an_event("e", 5, "d9")) == [EventResult("e", ACCEPTED, joined=False)]


def test_a_view_has_no_document(log: FeedbackLog, tmp_path: Path) -> None:
    put(log, an_impression(1))
    (result,) = results(log, an_event("e", 1, "", action=Action.VIEW, value=50.0))
    assert (result.refusal, result.joined) == (EventRefusal.INVALID_FIELD, True)
    assert "view.last_rank: is 50; the ranking has" in result.detail
    assert statuses(log, an_event("e", 1, "", action=Action.VIEW, value=3.0)) == [ACCEPTED]
    assert in_database(tmp_path, "SELECT action, doc_id, value FROM events") == [("view", "", 3.0)]


def test_what_is_refused_beforehand_is_a_duplicate_if_it_is_known(log: FeedbackLog) -> None:
    refused = EventResult("e", REFUSED, EventRefusal.EXPIRED_TOKEN, "too late")
    expired = [Submitted(an_event("e", 1), refused)]
    assert log.submit(expired).result(WAIT_SECONDS)[0].result == refused
    assert statuses(log, an_event("e", 1)) == [ACCEPTED]
    assert log.submit(expired).result(WAIT_SECONDS)[0].result.status is DUPLICATE


@pytest.mark.parametrize(
    ("action", "credit"),
    [
        (Action.CLICK, Credit("5e55", an_id(1), "canary", NOON + 5.5)),
        (Action.CART_ADDITION, Credit("5e55", an_id(1), "canary", NOON + 5.5)),
        (Action.ORDER, Credit("5e55", an_id(1), "canary", NOON + 5.5)),
        (Action.DWELL, None),
        (Action.SKIP, None),
        (Action.RATING, None),
    ],
)
def test_credits_of_interleaved_impressions(
    log: FeedbackLog, action: Action, credit: Credit | None
) -> None:
    put(log, an_impression(1, interleaved=True))
    put(log, an_impression(2))
    first, again, plain = (
        an_event("a", 1, action=action),
        an_event("a", 1, action=action),
        an_event("b", 2, action=action),
    )
    assert [one.credit for one in logged(log, first, again, plain)] == [credit, None, None]


def test_a_full_queue_drops_impressions_and_refuses_events(
    log: FeedbackLog, tmp_path: Path
) -> None:
    hold, before = Hold(log), dropped()
    assert [put(log, an_impression(n)) for n in range(12)] == [True] * 9 + [False] * 3
    assert dropped() - before == 3
    waiting = log.submit(submitted(*(an_event(f"e{n}", n) for n in range(15))))
    with pytest.raises(OverloadedError, match="15 events wait") as refused:
        log.submit(submitted(*(an_event(f"f{n}", n) for n in range(6))))
    assert refused.value.retry_seconds > 0
    hold.opened.set()
    assert {one.result.status for one in waiting.result(WAIT_SECONDS)} == {ACCEPTED}
    assert put(log, an_impression(20))
    assert statuses(log, an_event("last", 20)) == [ACCEPTED]
    assert len(impression_ids(tmp_path)) == 11


def test_rankings_of_many_hits_fill_the_queue_sooner(log: FeedbackLog) -> None:
    hold = Hold(log)
    many = [log.put(lambda: an_impression(1), 100) for _ in range(4)]
    hold.opened.set()
    assert many == [True, True, False, False]


def test_who_leaves_while_it_waits_is_not_logged(log: FeedbackLog, tmp_path: Path) -> None:
    hold = Hold(log)
    left, stayed = log.submit(submitted(an_event("a", 1))), log.submit(submitted(an_event("b", 1)))
    assert left.cancel()
    hold.opened.set()
    assert stayed.result(WAIT_SECONDS)[0].result.status is ACCEPTED
    assert list(event_ids(tmp_path)) == ["b"]


def limit_pages(log: FeedbackLog, most: int) -> None:
    """A database that may grow no more is what a full disk looks like."""
    log._journal._database._writer.execute(f"PRAGMA max_page_count = {most}")


def test_on_a_full_disk_events_are_told_and_impressions_wait(
    log: FeedbackLog, tmp_path: Path
) -> None:
    put(log, an_impression(0))
    results(log, an_event("before", 0))
    limit_pages(log, 1)
    big = "x" * 200_000
    put(log, an_impression(1, query=random_text(big)))
    for _ in range(3):
        with pytest.raises(StorageError, match="the disk is full"):
            log.submit(submitted(an_event("e", 1))).result(WAIT_SECONDS)
    put(log, an_impression(2))
    limit_pages(log, 1_000_000)
    assert results(log, an_event("e", 1)) == [EventResult("e", ACCEPTED, joined=True)]
    assert impression_ids(tmp_path) == {an_id(n): 1 for n in range(3)}
    assert event_ids(tmp_path) == {"before": 1, "e": 1}


def test_impressions_are_written_once_there_is_room_again(log: FeedbackLog, tmp_path: Path) -> None:
    results(log, an_event("before", 0))
    limit_pages(log, 1)
    put(log, an_impression(1, query=random_text("x" * 200_000)))
    with pytest.raises(StorageError, match="the disk is full"):
        log.submit(submitted(an_event("e", 1))).result(WAIT_SECONDS)
    limit_pages(log, 1_000_000)
    wait_for_impressions(tmp_path, 1)
    assert impression_ids(tmp_path) == {an_id(1): 1}


def random_text(like: str) -> str:
    """As long, but not to be compressed."""
    import random

    return random.Random(7).randbytes(len(like)).hex()


def test_closed_on_a_full_disk_it_says_what_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = FeedbackLog(tmp_path, 10, 20)
    results(log, an_event("before", 0))
    limit_pages(log, 1)
    put(log, an_impression(1, query=random_text("x" * 200_000)))
    log.close()
    assert "1 impressions are lost" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_ends_tells_everybody(log: FeedbackLog) -> None:
    def end() -> Impression:
        raise SystemExit

    hold = Hold(log)
    log.put(end, 1)
    waiting = log.submit(submitted(an_event("e", 1)))
    hold.opened.set()
    with pytest.raises(StorageError, match="restart the sidecar"):
        waiting.result(WAIT_SECONDS)
    log._thread.join(WAIT_SECONDS)
    assert not put(log, an_impression(1))
    with pytest.raises(StorageError, match="restart the sidecar"):
        log.submit(submitted(an_event("f", 1)))


def test_an_impression_that_cannot_be_written_is_dropped_alone(
    log: FeedbackLog, tmp_path: Path
) -> None:
    before = dropped()
    log.put(lambda: an_impression(1, query=b"bytes"), 1)
    put(log, an_impression(2))
    assert statuses(log, an_event("e", 2)) == [ACCEPTED]
    assert list(impression_ids(tmp_path)) == [an_id(2)]
    assert dropped() - before == 1


def test_closing_writes_what_waits(tmp_path: Path) -> None:
    log = FeedbackLog(tmp_path, 10, 20)
    for number in range(9):
        put(log, an_impression(number))
    future = log.submit(submitted(an_event("e", 3)))
    log.close()
    log.close()
    assert future.result(0)[0].result == EventResult("e", ACCEPTED, joined=True)
    assert len(impression_ids(tmp_path)) == 9


def test_a_writer_that_is_locked_out_goes_on_later(log: FeedbackLog, tmp_path: Path) -> None:
    put(log, an_impression(1))
    with sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = log.submit(submitted(an_event("e", 1)))
        with pytest.raises(concurrent.futures.TimeoutError):
            waiting.result(0.2)
        other.execute("COMMIT")
    other.close()
    assert waiting.result(WAIT_SECONDS)[0].result.status is ACCEPTED


@settings(max_examples=15)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(0, 8), st.sampled_from("xyz")), min_size=1, max_size=6),
        max_size=6,
    )
)
def test_each_id_once_whatever_is_sent_again(
    batches: list[list[tuple[int, str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, first = tmp_path_factory.mktemp("log"), {}
    log = FeedbackLog(folder, 10, 100)
    futures = [
        log.submit(submitted(*(an_event(f"e{number}", 1, doc) for number, doc in batch)))
        for batch in batches
    ]
    for batch, future in zip(batches, futures, strict=True):
        for (number, doc), one in zip(batch, future.result(WAIT_SECONDS), strict=True):
            is_new = f"e{number}" not in first
            first.setdefault(f"e{number}", doc)
            assert one.result.status is (ACCEPTED if is_new else DUPLICATE)
    log.close()
    assert dict(in_database(folder, "SELECT event_id, doc_id FROM events")) == first


def test_an_impression_that_is_written_again_stays_as_it_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for query in ("first", "again"):
        journal.write([to_row(an_impression(1, query=query))], [])
    journal.close()
    ((content,),) = in_database(tmp_path, "SELECT content FROM impressions")
    assert json.loads(zlib.decompress(content))["query"] == "first"


def test_a_log_of_a_newer_format_is_not_touched(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    in_database(tmp_path, "PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="format 99 was written by a newer sidecar"):
        FeedbackLog(tmp_path, 10, 20)


def test_another_database_is_not_touched(tmp_path: Path) -> None:
    in_database(tmp_path, f"PRAGMA application_id = {APPLICATION_ID + 1}")
    with pytest.raises(StorageError, match="not a feedback log"):
        FeedbackLog(tmp_path, 10, 20)


def test_a_damaged_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite").write_bytes(b"no database, but long enough to look like one" * 100)
    with pytest.raises(StorageError, match="restore it from a backup"):
        FeedbackLog(tmp_path, 10, 20)
