"""The feedback log of a server: what is given to it is written by one thread, in one order.

    put(impression), submit(events) -> one bounded queue -> writer thread -> one transaction for all
    that waits -> futures of the events

Impressions alone wait a moment for company, so that they cost few writes; events are written at
once, and with them the impressions that were put before. A write that fails fails its events, which
their senders have; its impressions wait for the next one.
"""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.errors import OverloadedError, SidecarError, StorageError
from sidecar.feedback_types import Impression
from sidecar.metrics import FEEDBACK_COMMIT_SECONDS, FEEDBACK_IMPRESSIONS, FEEDBACK_WAITING
from sidecar.storage.feedback.journal import Journal, Logged, Submitted
from sidecar.storage.feedback.rows import ImpressionRow, to_row

# How long impressions alone wait for company, and how long after a write that failed.
COMPANY_SECONDS = 0.2
RETRY_SECONDS = 1.0
# What one transaction takes up at most, so that events do not wait long for what is before them.
BATCH_IMPRESSIONS = 500
BATCH_HITS = 5000
BATCH_EVENTS = 5000
# Hits that may wait for each impression that may: bounds the memory that large rankings take.
HITS_EACH = 20

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Put:
    make: Callable[[], Impression]
    hits: int


@dataclass(frozen=True, slots=True)
class _Sent:
    events: Sequence[Submitted]
    answer: Future[list[Logged]]


@dataclass(slots=True)
class _Count:
    impressions: int = 0
    hits: int = 0
    events: int = 0


@dataclass(slots=True)
class _Batch:
    """What one transaction writes, and how much of the queue that is."""

    rows: list[ImpressionRow] = field(default_factory=list)
    sent: list[_Sent] = field(default_factory=list)
    count: _Count = field(default_factory=_Count)


class FeedbackLog:
    """Impressions and events on their way to the disk. `put` and `submit` are for one thread (the
    event loop's); neither blocks."""

    def __init__(self, folder: Path, queue_impressions: int, queue_events: int) -> None:
        """Opens or creates the log in a folder. Raises StorageError."""
        self._journal = Journal(folder)
        self._most_impressions, self._most_events = queue_impressions, queue_events
        self._waiting: collections.deque[_Put | _Sent] = collections.deque()
        # What came in, counted by the callers' thread, and what left, counted by the writer's.
        self._came, self._left = _Count(), _Count()
        self._batch = _Batch()
        self._work, self._urgent = threading.Event(), threading.Event()
        self._closing, self._ended = threading.Event(), threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="feedback-log", daemon=True)
        self._thread.start()

    def put(self, make: Callable[[], Impression], hits: int) -> bool:
        """Queues an impression, made by `make` in the writer's thread; False if it was dropped,
        since too many wait."""
        came, left, most = self._came, self._left, self._most_impressions
        is_full = came.impressions - left.impressions >= most
        if is_full or came.hits - left.hits >= HITS_EACH * most or self._ended.is_set():
            FEEDBACK_IMPRESSIONS.labels("dropped").inc()
            return False
        came.impressions += 1
        came.hits += hits
        self._queue(_Put(make, hits))
        return True

    def submit(self, events: Sequence[Submitted]) -> Future[list[Logged]]:
        """Queues events; the future has what became of each once it is durable, or StorageError.

        Raises OverloadedError if too many wait, StorageError if nothing is written any more.
        """
        waiting = self._came.events - self._left.events
        if waiting and waiting + len(events) > self._most_events:
            raise OverloadedError(
                f"{waiting:,} events wait to be written: send it again later", RETRY_SECONDS
            )
        if self._ended.is_set():
            raise self._to_ended_error()
        self._came.events += len(events)
        answer: Future[list[Logged]] = Future()
        self._queue(_Sent(events, answer))
        self._urgent.set()
        if self._ended.is_set():
            self._fail_waiting()
        return answer

    def close(self) -> None:
        """Writes what waits and closes. May be called twice. Blocks."""
        self._closing.set()
        self._work.set()
        self._urgent.set()
        self._thread.join()
        self._journal.close()

    def _queue(self, waiting: _Put | _Sent) -> None:
        self._waiting.append(waiting)
        if not self._work.is_set():
            self._work.set()

    # The writer's thread

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._await_work()
                self._write_some()
            self._write_rest()
        finally:
            self._ended.set()
            self._fail_batch()
            self._fail_waiting()

    def _await_work(self) -> None:
        """Returns when there is something to write: at once for events, else a moment later."""
        self._work.wait()
        self._urgent.wait(RETRY_SECONDS if self._failing else COMPANY_SECONDS)
        # Before anything is taken: what is queued from now on sets them again.
        self._work.clear()
        self._urgent.clear()

    def _write_rest(self) -> None:
        """What still waits when the log is closed; a write that fails is the last."""
        self._failing = False
        while (self._waiting or self._batch.rows) and not self._failing:
            self._write_some()

    def _write_some(self) -> None:
        self._take()
        FEEDBACK_WAITING.set(self._came.impressions - self._left.impressions)
        if not self._batch.rows and not self._batch.sent:
            return
        try:
            self._write(self._batch)
        except StorageError as error:
            self._keep_impressions(error)
        except Exception as error:
            _logger.exception("a write of feedback failed: its impressions are dropped")
            self._answer_failed(StorageError(f"{self._journal.path}: {error!r}"))
            self._drop(self._batch.count)
            self._batch = _Batch()

    def _take(self) -> None:
        """Adds to the batch, which has the impressions of a write that failed, what waits."""
        batch, fresh = self._batch, _Count()
        while self._waiting and not _is_much(fresh):
            waiting = self._waiting.popleft()
            if isinstance(waiting, _Put):
                self._take_impression(batch, waiting)
                fresh.impressions += 1
                fresh.hits += waiting.hits
            elif waiting.answer.set_running_or_notify_cancel():
                batch.sent.append(waiting)
                batch.count.events += len(waiting.events)
                fresh.events += len(waiting.events)
            else:
                self._left.events += len(waiting.events)
        if self._waiting:
            self._work.set()
            self._urgent.set()

    def _take_impression(self, batch: _Batch, put: _Put) -> None:
        try:
            batch.rows.append(to_row(put.make()))
        except Exception:
            _logger.exception("an impression cannot be written, and is dropped")
            self._drop(_Count(impressions=1, hits=put.hits))
            return
        batch.count.impressions += 1
        batch.count.hits += put.hits

    def _write(self, batch: _Batch) -> None:
        started = time.perf_counter()
        logged = self._journal.write(batch.rows, [sent.events for sent in batch.sent])
        FEEDBACK_COMMIT_SECONDS.observe(time.perf_counter() - started)
        if self._failing:
            _logger.warning("%s: can be written again", self._journal.path)
        self._failing = False
        FEEDBACK_IMPRESSIONS.labels("logged").inc(batch.count.impressions)
        self._leave(batch.count)
        self._batch = _Batch()
        for sent, results in zip(batch.sent, logged, strict=True):
            sent.answer.set_result(results)

    def _keep_impressions(self, error: StorageError) -> None:
        """The events of the batch are failed; its impressions are written with the next one."""
        if not self._failing:
            _logger.error("%s; up to %d impressions wait", error.message, self._most_impressions)
        self._failing = True
        self._answer_failed(error)
        if self._batch.rows:
            self._work.set()

    def _answer_failed(self, error: SidecarError) -> None:
        batch = self._batch
        sent, batch.sent = batch.sent, []
        self._left.events += batch.count.events
        batch.count.events = 0
        for one in sent:
            one.answer.set_exception(error)

    def _leave(self, count: _Count) -> None:
        self._left.impressions += count.impressions
        self._left.hits += count.hits
        self._left.events += count.events

    def _drop(self, count: _Count) -> None:
        FEEDBACK_IMPRESSIONS.labels("dropped").inc(count.impressions)
        self._leave(count)

    def _fail_batch(self) -> None:
        self._answer_failed(self._to_ended_error())
        if self._batch.rows:
            lost = self._batch.count.impressions
            _logger.error("%s: %d impressions are lost", self._journal.path, lost)
            self._drop(self._batch.count)

    def _fail_waiting(self) -> None:
        """Nothing is written any more: says so to those who wait."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if isinstance(waiting, _Put):
                FEEDBACK_IMPRESSIONS.labels("dropped").inc()
            elif waiting.answer.set_running_or_notify_cancel():
                waiting.answer.set_exception(self._to_ended_error())

    def _to_ended_error(self) -> StorageError:
        return StorageError(
            f"{self._journal.path}: nothing is written any more: restart the sidecar",
            path=str(self._journal.path),
        )


def _is_much(count: _Count) -> bool:
    """Whether it is enough for one transaction."""
    return (
        count.impressions >= BATCH_IMPRESSIONS
        or count.hits >= BATCH_HITS
        or count.events >= BATCH_EVENTS
    )
