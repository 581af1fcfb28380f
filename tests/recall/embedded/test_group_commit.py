"""Writes of several threads: one transaction for those that wait, none that waits for more."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from recalling import SCHEMA, Encoder, a_collection, a_document

from sidecar.config import Config
from sidecar.errors import RequestIdReusedError, StorageError
from sidecar.recall.collection import Written
from sidecar.recall.embedded import group_commit
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.embedded.group_commit import GroupCommit

SECONDS = 60.0


class Recorded:
    """A `write_all` that keeps its groups, and waits in each for `gate`."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, asked: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(asked))
        self.entered.release()
        assert self.gate.wait(SECONDS)
        return [StorageError(f"{each} is odd") if each % 2 else -each for each in asked]


def until(condition: Callable[[], bool]) -> None:
    """Until other threads came so far."""
    latest = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < latest
        os.sched_yield()


def outcome(future: Future[int]) -> int | str:
    try:
        return future.result(SECONDS)
    except StorageError as error:
        return error.message


def test_who_is_alone_does_not_wait() -> None:
    recorded = Recorded()
    recorded.gate.set()
    group = GroupCommit(recorded)
    assert [group.run(each) for each in (2, 4)] == [-2, -4]
    with pytest.raises(StorageError, match="3 is odd"):
        group.run(3)
    assert recorded.groups == [[2], [4], [3]]


def test_those_that_wait_are_written_together_each_with_its_own_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "MOST_TOGETHER", 5)
    recorded = Recorded()
    group = GroupCommit(recorded)
    with ThreadPoolExecutor(20) as threads:
        first = threads.submit(group.run, 100)
        assert recorded.entered.acquire(timeout=SECONDS)
        others = {each: threads.submit(group.run, each) for each in range(12)}
        until(lambda: group.queue_length == 12)
        recorded.gate.set()
        assert outcome(first) == -100
        answers = {each: outcome(future) for each, future in others.items()}
    assert answers == {each: f"{each} is odd" if each % 2 else -each for each in range(12)}
    assert [len(each) for each in recorded.groups] == [1, 5, 5, 2]


def test_what_fails_as_a_whole_is_told_to_all() -> None:
    entered, gate = threading.Event(), threading.Event()

    def failing(asked: Sequence[int]) -> list[int | Exception]:
        if asked == [0]:
            entered.set()
            assert gate.wait(SECONDS)
            return [0]
        raise StorageError(f"{len(asked)} failed")

    group: GroupCommit[int, int] = GroupCommit(failing)
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(group.run, 0)
        assert entered.wait(SECONDS)
        others = [threads.submit(group.run, each) for each in (1, 2, 3)]
        until(lambda: group.queue_length == 3)
        gate.set()
        assert outcome(first) == 0
        assert [outcome(each) for each in others] == ["3 failed"] * 3


def test_one_answer_too_few_is_told_and_keeps_nobody_from_writing() -> None:
    group: GroupCommit[int, int] = GroupCommit(lambda asked: asked if 4 in asked else [])
    with ThreadPoolExecutor(1) as threads:
        with pytest.raises(ValueError, match="shorter"):
            threads.submit(group.run, 2).result(SECONDS)
        assert threads.submit(group.run, 4).result(SECONDS) == 4


def test_what_fails_after_the_commit_is_logged_and_the_write_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collection = a_collection(tmp_path)

    def fail(*_: object) -> None:
        raise RuntimeError("made to fail")

    monkeypatch.setattr(collection._derived, "hide", fail)
    assert collection.upsert([a_document(1)], request_id="r").sequence == 1
    assert collection.delete(["d0001"], request_id="s").sequence == 2
    monkeypatch.undo()
    assert collection.get(["d0001"]) == []
    assert "made to fail" in caplog.text
    assert collection.upsert([a_document(2)]).sequence == 3
    assert collection.wait_searchable(3, SECONDS)
    collection.close()


def test_who_wants_to_be_alone_goes_before_those_who_queue() -> None:
    recorded, order = Recorded(), []
    group = GroupCommit(recorded)

    def be_alone() -> None:
        with group.alone():
            order.append(len(recorded.groups))

    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(group.run, 2)
        assert recorded.entered.acquire(timeout=SECONDS)
        second = threads.submit(group.run, 4)
        until(lambda: group.queue_length == 1)
        alone = threads.submit(be_alone)
        until(lambda: group._wanting_alone == 1)
        recorded.gate.set()
        alone.result(SECONDS)
        assert (first.result(SECONDS), second.result(SECONDS)) == (-2, -4)
    assert order == [1]


def commits_of(collection: EmbeddedCollection, statements: list[str]) -> None:
    collection._store._database._writer.set_trace_callback(statements.append)


def write_while_held(
    collection: EmbeddedCollection, writes: Sequence[Callable[[], Written]]
) -> list[Written | Exception]:
    """All of them wait until all are there."""

    def done(write: Callable[[], Written]) -> Written | Exception:
        try:
            return write()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(writes)) as threads:
        with collection._writer.alone():
            futures = [threads.submit(done, write) for write in writes]
            until(lambda: collection._writer._group.queue_length == len(writes))
        return [future.result(SECONDS) for future in futures]


def test_writers_that_meet_share_one_commit(tmp_path: Path) -> None:
    collection = a_collection(tmp_path)
    statements: list[str] = []
    commits_of(collection, statements)
    written = write_while_held(
        collection,
        [lambda n=n: collection.upsert([a_document(n), a_document(n + 50)]) for n in range(8)],
    )
    assert statements.count("COMMIT") == 1
    versions = [version for each in written for version in each.versions]  # type: ignore[union-attr]
    assert sorted(versions) == list(range(1, 17))
    assert {each.durable_sequence for each in written} == {16}  # type: ignore[union-attr]
    stored = collection.get([f"d{n:04}" for n in (*range(8), *range(50, 58))])
    assert sorted(each.version for each in stored) == sorted(versions)
    assert collection.verify() == []
    collection.close()


def test_of_equal_request_ids_that_meet_one_is_written(tmp_path: Path) -> None:
    collection = a_collection(tmp_path)
    same, other = [a_document(1, "same")], [a_document(1, "other")]
    outcomes = write_while_held(
        collection,
        [
            *[lambda: collection.upsert(same, request_id="r")] * 4,
            lambda: collection.upsert(other, request_id="r"),
        ],
    )
    done = [each for each in outcomes if isinstance(each, Written)]
    assert sorted(each.repeated for each in done)[0] is False
    assert sum(not each.repeated for each in done) == 1
    refused = [each for each in outcomes if isinstance(each, RequestIdReusedError)]
    assert len(refused) == len(outcomes) - len(done) >= 1
    assert collection.durable_sequence == 1
    collection.close()


def test_a_repeated_batch_and_a_conflict_are_not_encoded_again(tmp_path: Path) -> None:
    encoder = Encoder()
    collection = EmbeddedCollection.create(tmp_path / "things", "things", SCHEMA, encoder, Config())
    batch = [a_document(1), a_document(2)]
    collection.upsert(batch, request_id="r", expected_versions=[0, None])
    assert len(encoder.encoded) == 2
    assert collection.upsert(batch, request_id="r", expected_versions=[0, None]).repeated
    assert collection.upsert(batch, expected_versions=[0, None]).conflicts
    with pytest.raises(RequestIdReusedError):
        collection.upsert([a_document(3)], request_id="r")
    assert len(encoder.encoded) == 2
    collection.close()


def test_no_increment_is_lost_by_those_who_write_on_condition(tmp_path: Path) -> None:
    """Read, add one, write if it is as it was read: by several at once, until it is written."""
    collection = a_collection(tmp_path)
    collection.upsert([a_document(1, "0")])

    def add_some(count: int) -> None:
        while count:
            (read,) = collection.get(["d0001"])
            higher = a_document(1, str(int(read.fields["text"]) + 1))
            written = collection.upsert([higher], expected_versions=[read.version])
            count -= not written.conflicts

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(add_some, [10] * 6)) == [None] * 6
    (read,) = collection.get(["d0001"])
    assert read.fields["text"] == "60"
    assert read.version == collection.durable_sequence == 61
    collection.close()
