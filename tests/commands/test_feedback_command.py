"""Feedback as operators meet it: `sidecar feedback`, and servers that are killed."""

from __future__ import annotations

import json
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
from feedbacks import event_ids, impression_ids, in_database, in_parquet
from sidecar_process import Serving

from sidecar.v1.feedback_pb2 import Click, Event, LogEventsRequest, LogEventStreamRequest
from sidecar.v1.feedback_pb2_grpc import FeedbackServiceStub
from sidecar.v1.rerank_pb2 import Candidate, RerankRequest
from sidecar.v1.rerank_pb2_grpc import RerankServiceStub

Start = Callable[..., AbstractContextManager[Serving]]
KILLS = 3
LEAST_ACKNOWLEDGED = 300
CANDIDATES = [Candidate(doc_id=f"d{n}", text=f"tea {n}") for n in range(5)]


def show(channel: grpc.Channel) -> str:
    request = RerankRequest(query="tea", candidates=CANDIDATES)
    token: str = RerankServiceStub(channel).Rerank(request, timeout=30).ranking.ranking_token
    assert token
    return token


def a_click(event_id: str, token: str) -> Event:
    return Event(event_id=event_id, ranking_token=token, doc_id="d1", click=Click())


class Clicks:
    """Users who click until the server is gone; what was not acknowledged they send again first."""

    def __init__(self) -> None:
        self.acknowledged: set[str] = set()
        self.unanswered: dict[str, Event] = {}
        self.enough = threading.Event()
        self._lock, self._wanted = threading.Lock(), 0

    def begin(self) -> None:
        """`enough` is set when so many more are acknowledged."""
        self.enough.clear()
        self._wanted = len(self.acknowledged) + LEAST_ACKNOWLEDGED

    def send_until_killed(self, address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            stub = FeedbackServiceStub(channel)
            try:
                events = list(self.unanswered.values()) or self._click(show(channel))
                while True:
                    reply = stub.LogEvents(LogEventsRequest(events=events), timeout=30)
                    self._note(reply.results)
                    events = self._click(show(channel))
            except grpc.RpcError:
                return

    def stream_until_killed(self, address: str) -> None:
        """The same over a stream that never waits."""
        with grpc.insecure_channel(address) as channel:
            stub = FeedbackServiceStub(channel)
            try:
                for reply in stub.LogEventStream(self._requests(show(channel))):
                    self._note(reply.results)
            except grpc.RpcError:
                return

    def _requests(self, token: str) -> Iterator[LogEventStreamRequest]:
        before = list(self.unanswered.values())
        for start in range(0, len(before), 1000):
            yield LogEventStreamRequest(events=before[start : start + 1000])
        while True:
            yield LogEventStreamRequest(events=self._click(token))

    def _click(self, token: str) -> list[Event]:
        events = [a_click(uuid.uuid4().hex, token) for _ in range(3)]
        with self._lock:
            self.unanswered |= {event.event_id: event for event in events}
        return events

    def _note(self, results: Any) -> None:
        with self._lock:
            for result in results:
                assert result.status in (1, 2)
                self.acknowledged.add(result.event_id)
                del self.unanswered[result.event_id]
        if len(self.acknowledged) >= self._wanted:
            self.enough.set()


@pytest.mark.parametrize("way", ["send_until_killed", "stream_until_killed"])
def test_what_is_acknowledged_is_there_once_whatever_is_killed(
    serve: Start, sidecar: Any, tmp_path: Path, way: str
) -> None:
    clicks, folder = Clicks(), tmp_path / "data" / "feedback"
    for _ in range(KILLS):
        clicks.begin()
        with serve() as server:
            target = getattr(clicks, way)
            sending = threading.Thread(target=target, args=(server.address,))
            sending.start()
            enough = clicks.enough.wait(60)
            server.process.send_signal(signal.SIGKILL)
            server.process.wait(30)
            sending.join(60)
            assert enough
    logged = event_ids(folder)
    assert clicks.acknowledged <= set(logged)
    assert set(logged.values()) == {1}
    # Beyond those acknowledged, only such as were under way; sent again, they are duplicates.
    assert set(logged) <= clicks.acknowledged | set(clicks.unanswered)
    with serve():
        done = sidecar("feedback", "roll", "--all", "--data", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert {row["event_id"] for row in in_parquet(folder, "events")} == set(logged)
    assert set(event_ids(folder).values()) == {1}
    assert set(impression_ids(folder).values()) == {1}


def test_what_a_killed_server_had_logged_is_known_to_the_next(serve: Start) -> None:
    with serve() as server, grpc.insecure_channel(server.address) as channel:
        event = a_click("once", show(channel))
        stub = FeedbackServiceStub(channel)
        (first,) = stub.LogEvents(LogEventsRequest(events=[event])).results
        server.process.send_signal(signal.SIGKILL)
    with serve() as server, grpc.insecure_channel(server.address) as channel:
        stub = FeedbackServiceStub(channel)
        again = LogEventsRequest(events=[event, a_click("new", event.ranking_token)])
        second, new = stub.LogEvents(again).results
    assert [first.status, second.status, new.status] == [1, 2, 1]
    assert (first.joined, new.joined) == (True, True)


def test_status_and_roll_while_it_serves(serve: Start, sidecar: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serve() as server, grpc.insecure_channel(server.address) as channel:
        stub = FeedbackServiceStub(channel)
        stub.LogEvents(LogEventsRequest(events=[a_click("a", show(channel))]))
        said = sidecar("feedback", "status", "--data", data).stdout
        before = json.loads(sidecar("feedback", "status", "--json", "--data", data).stdout)
        rolled = sidecar("feedback", "roll", "--all", "--data", data)
        after = json.loads(sidecar("feedback", "status", "--json", "--data", data).stdout)
        stub.LogEvents(LogEventsRequest(events=[a_click("b", show(channel))]))
    assert "1 events known by their ids" in said
    assert rolled.stdout == "2 rows rolled to 2 files\n"
    for kind in ("impressions", "events"):
        assert (before["kinds"][kind]["in_log"], before["kinds"][kind]["rolled"]) == (1, 0)
        assert (after["kinds"][kind]["in_log"], after["kinds"][kind]["rolled"]) == (0, 1)
    assert event_ids(data / "feedback") == {"a": 1, "b": 1}


def test_a_folder_without_feedback_is_a_mistake(sidecar: Any, tmp_path: Path) -> None:
    done = sidecar("feedback", "status", "--data", tmp_path)
    assert done.returncode == 2
    assert "is no data directory with feedback" in done.stderr
    assert not list(tmp_path.iterdir())


def test_who_tries_a_query_is_no_user(serve: Start, sidecar: Any, tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"_id": "a", "title": "", "text": "tea"}\n')
    call = ["rerank", "tea", "--candidates", tmp_path / "list.jsonl"]
    with serve() as server:
        tried = sidecar(*call, "--on", server.address)
        shown = sidecar(*call, "--on", server.address, "--logged")
    assert (tried.returncode, shown.returncode) == (0, 0)
    assert "token" not in tried.stdout
    tokens = [line.split()[1] for line in shown.stdout.splitlines() if " token " in line]
    logged = in_database(tmp_path / "data" / "feedback", "SELECT impression_id FROM impressions")
    assert len(tokens) == len(logged) > 0
