"""LogEvents and LogEventStream over real gRPC: tokens of answers, a status for each event."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from feedbacks import event_ids, in_database, in_parquet
from google.protobuf.timestamp_pb2 import Timestamp
from serving import CONFIG, Served, refused, serving, to_refusal

from sidecar.config import Config, FeedbackConfig
from sidecar.errors import StorageError
from sidecar.pipeline.ranking_tokens import RankingTokens
from sidecar.storage.feedback.journal import Journal
from sidecar.storage.feedback.roll import everything, roll
from sidecar.v1 import feedback_pb2 as pb
from sidecar.v1.feedback_pb2 import Click, Event, LogEventsRequest, LogEventStreamRequest
from sidecar.v1.ranking_pb2 import RankingOptions, Visitor
from sidecar.v1.rerank_pb2 import Candidate, RerankRequest, RerankStreamRequest

SECRET = "0123456789abcdef"
ACCEPTED, DUPLICATE, REFUSED = (
    pb.EVENT_STATUS_ACCEPTED,
    pb.EVENT_STATUS_DUPLICATE,
    pb.EVENT_STATUS_REFUSED,
)
CANDIDATES = [Candidate(doc_id=f"d{n}", text="tea " * n) for n in range(1, 6)]
VISITOR = Visitor(session_id="s", user_id="u")


def logging(**changes: Any) -> Config:
    """A configuration with feedback."""
    return dataclasses.replace(CONFIG, feedback=FeedbackConfig(secret=SECRET, **changes))


def request(**options: Any) -> RerankRequest:
    chosen = RankingOptions(**({"visitor": VISITOR} | options))
    return RerankRequest(query="tea", candidates=CANDIDATES, options=chosen)


async def a_token(served: Served) -> str:
    reply = await served.rerank.Rerank(request())
    return str(reply.ranking.ranking_token)


def click(event_id: str, token: str, doc_id: str = "d1", **fields: Any) -> Event:
    action = fields if {*fields} - {"time"} else {**fields, "click": Click()}
    return Event(event_id=event_id, ranking_token=token, doc_id=doc_id, **action)


async def log(served: Served, *events: Event) -> list[Any]:
    reply = await served.feedback.LogEvents(LogEventsRequest(events=events))
    return list(reply.results)


async def test_an_answer_is_logged_and_its_clicks_join_it(tmp_path: Path) -> None:
    async with serving(tmp_path, logging()) as served:
        reply = await served.rerank.Rerank(request(top_k=2))
        shown = [hit.doc_id for hit in reply.ranking.hits]
        token = reply.ranking.ranking_token
        results = await log(served, click("e", token, shown[1]), click("e", token, shown[1]))
    accepted = pb.EventResult(event_id="e", status=ACCEPTED, joined=True)
    assert results == [accepted, pb.EventResult(event_id="e", status=DUPLICATE, joined=True)]
    folder = tmp_path / "feedback"
    roll(folder, time.time(), everything)
    (impression,), (event,) = in_parquet(folder, "impressions"), in_parquet(folder, "events")
    assert [hit["doc_id"] for hit in impression["hits"]] == shown
    assert impression["hits"][0]["score"] == reply.ranking.hits[0].score
    assert impression["query"] == "tea"
    assert event["impression_id"] == impression["impression_id"]
    assert (event["doc_id"], event["action"]) == (shown[1], "click")


async def test_every_ranking_of_a_stream_has_a_token_of_its_own(tmp_path: Path) -> None:
    async with serving(tmp_path, logging()) as served:
        call = served.rerank.RerankStream(RerankStreamRequest(rerank=request()))
        rankings = [reply.ranking async for reply in call]
        tokens = [ranking.ranking_token for ranking in rankings]
        results = await log(served, *(click(f"e{n}", token) for n, token in enumerate(tokens)))
    assert len({*tokens}) == len(rankings) > 1
    assert [(result.status, result.joined) for result in results] == [(ACCEPTED, True)] * len(
        tokens
    )
    roll(tmp_path / "feedback", time.time(), everything)
    logged = in_parquet(tmp_path / "feedback", "impressions")
    assert [row["revision"] for row in logged] == [ranking.revision for ranking in rankings]
    assert [row["final"] for row in logged] == [ranking.final for ranking in rankings]


async def test_an_unlogged_ranking_has_no_token(tmp_path: Path) -> None:
    async with serving(tmp_path, logging()) as served:
        reply = await served.rerank.Rerank(request(unlogged=True))
    assert reply.ranking.ranking_token == ""
    assert in_database(tmp_path / "feedback", "SELECT count(*) FROM impressions") == [(0,)]


async def test_what_is_wrong_with_an_event_concerns_no_other(tmp_path: Path) -> None:
    expired = RankingTokens(SECRET.encode()).sign(bytes(16), int((time.time() - 8 * 86400) * 1e6))
    forged = RankingTokens(b"mine").sign(bytes(16), int(time.time() * 1e6))
    async with serving(tmp_path, logging()) as served:
        token = await a_token(served)
        events = [
            click("first", token),
            click("x", "no token"),
            click("x", forged),
            click("x", expired),
            click("x", token, "d9"),
            click("x", token, "d1", rating=pb.Rating(grade=5)),
            click("x" * 5000, token),
            click("x" * 129, token),
            click("x", token, time=Timestamp(seconds=int(time.time()) + 120)),
            click("first", token),
            click("last", token, "d2"),
        ]
        results = await log(served, *events)
    assert [(result.status, result.refusal) for result in results] == [
        (ACCEPTED, pb.EVENT_REFUSAL_UNSPECIFIED),
        (REFUSED, pb.EVENT_REFUSAL_MALFORMED_TOKEN),
        (REFUSED, pb.EVENT_REFUSAL_FORGED_TOKEN),
        (REFUSED, pb.EVENT_REFUSAL_EXPIRED_TOKEN),
        (REFUSED, pb.EVENT_REFUSAL_UNKNOWN_DOCUMENT),
        (REFUSED, pb.EVENT_REFUSAL_INVALID_FIELD),
        (REFUSED, pb.EVENT_REFUSAL_TOO_LARGE),
        (REFUSED, pb.EVENT_REFUSAL_INVALID_FIELD),
        (REFUSED, pb.EVENT_REFUSAL_INVALID_FIELD),
        (DUPLICATE, pb.EVENT_REFUSAL_UNSPECIFIED),
        (ACCEPTED, pb.EVENT_REFUSAL_UNSPECIFIED),
    ]
    sent = [event.event_id[:128] for event in events]
    assert [result.event_id for result in results] == sent
    details = [result.detail for result in results]
    assert [bool(detail) for detail in details] == [result.status == REFUSED for result in results]
    assert details[5] == "rating.grade: is 5: give 0 to 4"
    assert event_ids(tmp_path / "feedback") == {"first": 1, "last": 1}


@pytest.mark.parametrize("count", [0, 1001])
async def test_the_number_of_events_concerns_the_call(tmp_path: Path, count: int) -> None:
    async with serving(tmp_path, logging()) as served:
        with refused() as refusal:
            await log(served, *(click(f"e{n}", "") for n in range(count)))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.field == "events"


async def test_where_feedback_is_off_events_are_refused_and_tokens_empty(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert await a_token(served) == ""
        with refused() as refusal:
            await log(served, click("e", "token"))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert refusal.reason == "FEEDBACK_OFF"


async def test_a_log_that_cannot_be_written_fails_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, logging()) as served:
        token = await a_token(served)
        with monkeypatch.context() as broken, refused() as refusal:

            def fail(*_: Any) -> Any:
                raise StorageError("log.sqlite: the disk is full: free space")

            broken.setattr(Journal, "write", fail)
            await log(served, click("e", token))
        assert [result.status for result in await log(served, click("e", token))] == [ACCEPTED]
    assert refusal.code is grpc.StatusCode.INTERNAL
    assert refusal.reason == "STORAGE"
    assert "the disk is full" in refusal.message


async def test_a_disk_that_stalls_leaves_half_of_the_calls_to_searches(tmp_path: Path) -> None:
    server = dataclasses.replace(CONFIG.server, max_calls=4, default_timeout_seconds=0.5)
    config = dataclasses.replace(logging(), server=server)
    async with serving(tmp_path, config) as served:
        token, folder = await a_token(served), tmp_path / "feedback"
        with contextlib.closing(sqlite3.connect(folder / "log.sqlite")) as stalling:
            stalling.execute("BEGIN IMMEDIATE")
            calls = [asyncio.create_task(log(served, click(f"e{n}", token))) for n in range(3)]
            ended = await asyncio.gather(*calls, return_exceptions=True)
            assert await a_token(served)
            stalling.execute("ROLLBACK")
        again = await log(served, *(click(f"e{n}", token) for n in range(3)))
    refusals = [to_refusal(error) for error in ended if isinstance(error, grpc.aio.AioRpcError)]
    assert sorted(refusal.reason for refusal in refusals) == [
        *("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "OVERLOADED")
    ]
    assert all("send" in refusal.message for refusal in refusals)
    # Those that were given up may have been written: then they are known.
    assert {result.status for result in again} <= {ACCEPTED, DUPLICATE}
    assert event_ids(folder) == {f"e{n}": 1 for n in range(3)}


# The stream


async def test_a_stream_answers_each_request_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path, logging(stream_requests=3)) as served:
        token = await a_token(served)
        requests = [
            LogEventStreamRequest(events=[click(f"e{n}", token), click(f"e{n // 2}", token)])
            for n in range(40)
        ]
        replies = [reply async for reply in served.feedback.LogEventStream(iter(requests))]
    for n, reply in enumerate(replies):
        assert [result.event_id for result in reply.results] == [f"e{n}", f"e{n // 2}"]
        assert [result.status for result in reply.results] == [ACCEPTED, DUPLICATE]
    assert event_ids(tmp_path / "feedback") == {f"e{n}": 1 for n in range(40)}


async def test_a_stream_reads_no_further_ahead_than_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = [asyncio.Event() for _ in range(10)]
    begun: list[Any] = []
    async with serving(tmp_path, logging(stream_requests=3)) as served:
        token, begins = await a_token(served), asyncio.Semaphore(0)

        async def slow(*arguments: Any) -> Any:
            begun.append(arguments)
            begins.release()
            await gates[len(begun) - 1].wait()
            return []

        monkeypatch.setattr("sidecar.service.feedback.FeedbackService._log", slow)
        requests = [LogEventStreamRequest(events=[click(f"e{n}", token)]) for n in range(10)]
        replies = aiter(served.feedback.LogEventStream(iter(requests)))
        for answered in range(7):
            for _ in range(1 if answered else 3):
                await asyncio.wait_for(begins.acquire(), 20)
            # A whole round trip, in which more would have been read.
            await served.rerank.Rerank(request())
            assert len(begun) == answered + 3
            gates[answered].set()
            await anext(replies)
        for gate in gates:
            gate.set()
        assert len([reply async for reply in replies]) == 3


async def test_a_bad_request_ends_the_stream_after_those_before_it(tmp_path: Path) -> None:
    async with serving(tmp_path, logging()) as served:
        token, replies = await a_token(served), []
        requests = [
            LogEventStreamRequest(events=[click("a", token)]),
            LogEventStreamRequest(),
            LogEventStreamRequest(events=[click("b", token)]),
        ]
        with refused() as refusal:
            async for reply in served.feedback.LogEventStream(iter(requests)):
                replies.append(reply)
        # Whatever became of the last one, it can be sent again.
        (again,) = await log(served, click("b", token))
    assert [reply.results[0].event_id for reply in replies] == ["a"]
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.field == "events"
    assert again.status in (ACCEPTED, DUPLICATE)
    assert event_ids(tmp_path / "feedback") == {"a": 1, "b": 1}


async def test_a_stream_that_goes_on_ends_when_the_server_drains(tmp_path: Path) -> None:
    answered, go_on = asyncio.Event(), asyncio.Event()

    async def requests(token: str) -> AsyncIterator[LogEventStreamRequest]:
        yield LogEventStreamRequest(events=[click("a", token)])
        await go_on.wait()

    async with serving(tmp_path, logging()) as served:
        call = served.feedback.LogEventStream(requests(await a_token(served)))
        with refused() as refusal:
            async for _ in call:
                answered.set()
                served.stop.set()
        go_on.set()
        await served.task
    assert answered.is_set()
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert refusal.reason == "DRAINING"
    assert event_ids(tmp_path / "feedback") == {"a": 1}


async def test_a_client_that_leaves_a_stream_disturbs_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path, logging()) as served:
        token = await a_token(served)
        for n in range(20):
            requests = [LogEventStreamRequest(events=[click(f"{n}-{m}", token)]) for m in range(9)]
            call = served.feedback.LogEventStream(iter(requests))
            await call.read()
            call.cancel()
        (result,) = await log(served, click("last", token))
    assert result.status == ACCEPTED
    logged = event_ids(tmp_path / "feedback")
    assert {f"{n}-0" for n in range(20)} <= set(logged)
    assert set(logged.values()) == {1}
