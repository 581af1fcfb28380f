"""Simulated users at a sidecar, over real gRPC: one that fails on purpose, and a whole one with
fake models that is restarted under way."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from feedbacks import event_ids
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from serving import CONFIG, serving, with_server
from things import COLLECTION, JUDGED, TEXTS, index_things

from sidecar.config import FeedbackConfig
from sidecar.simulation.click_models import CLICK_MODELS, PositionBased
from sidecar.simulation.client import Plan, Simulation
from sidecar.simulation.users import Users
from sidecar.v1 import (
    feedback_pb2,
    feedback_pb2_grpc,
    ranking_pb2,
    search_pb2,
    search_pb2_grpc,
)

HITS = list(TEXTS)
ACCEPTED = feedback_pb2.EVENT_STATUS_ACCEPTED
DUPLICATE = feedback_pb2.EVENT_STATUS_DUPLICATE
REFUSED = feedback_pb2.EVENT_STATUS_REFUSED
Misdeed = Callable[[Any], Any]


class Scripted(search_pb2_grpc.SearchServiceServicer, feedback_pb2_grpc.FeedbackServiceServicer):
    """Answers every search with the same hits and logs every event once; does what is queued in
    `misdeeds` instead of answering."""

    def __init__(self) -> None:
        self.searches: list[search_pb2.SearchRequest] = []
        self.logged: dict[str, feedback_pb2.Event] = {}
        self.before_search: collections.deque[Misdeed] = collections.deque()
        self.before_events: collections.deque[Misdeed] = collections.deque()
        self.after_events: collections.deque[Misdeed] = collections.deque()
        self.refuse: Callable[[feedback_pb2.Event], bool] = lambda _: False
        self.token = "token"

    async def Search(self, request: Any, context: Any) -> search_pb2.SearchResponse:
        if self.before_search:
            await self.before_search.popleft()(context)
        self.searches.append(request)
        hits = [ranking_pb2.Hit(doc_id=doc_id, rank=n) for n, doc_id in enumerate(HITS, 1)]
        ranking = ranking_pb2.Ranking(hits=hits, ranking_token=self.token, variant="production")
        return search_pb2.SearchResponse(ranking=ranking)

    async def LogEvents(self, request: Any, context: Any) -> feedback_pb2.LogEventsResponse:
        if self.before_events:
            await self.before_events.popleft()(context)
        results = [self._log(event) for event in request.events]
        if self.after_events:
            await self.after_events.popleft()(context)
        return feedback_pb2.LogEventsResponse(results=results)

    def _log(self, event: feedback_pb2.Event) -> feedback_pb2.EventResult:
        result = feedback_pb2.EventResult(event_id=event.event_id, joined=True)
        if self.refuse(event):
            result.status, result.joined = REFUSED, False
            result.refusal = feedback_pb2.EVENT_REFUSAL_EXPIRED_TOKEN
        else:
            result.status = DUPLICATE if event.event_id in self.logged else ACCEPTED
            self.logged[event.event_id] = event
        return result


def unavailable(context: Any) -> Any:
    return context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


def full(context: Any) -> Any:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1)
    packed = AnyMessage()
    packed.Pack(retry)
    status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="full", details=[packed])
    return context.abort_with_status(rpc_status.to_status(status))


def cancelled(context: Any) -> Any:
    return context.abort(grpc.StatusCode.CANCELLED, "the server ends")


async def never(context: Any) -> None:
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[tuple[Scripted, str]]:
    script, server = Scripted(), grpc.aio.server()
    search_pb2_grpc.add_SearchServiceServicer_to_server(script, server)
    feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(script, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield script, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def simulation(
    address: str, sessions: int = 30, run: str = "r", **changes: Any
) -> tuple[Simulation, list[str]]:
    """A simulation and the ids that were acknowledged to it, in their order."""
    acknowledged: list[str] = []
    plan = dataclasses.replace(
        Plan(address, COLLECTION, sessions, patience_seconds=30.0), **changes
    )
    users = Users(JUDGED, PositionBased(), seed=4, run=run)
    return Simulation(users, plan, acknowledged.extend), acknowledged


async def test_every_event_is_logged_acknowledged_and_counted_once() -> None:
    async with scripted() as (script, address):
        run, acknowledged = simulation(address)
        report = await run.run()
    assert sorted(acknowledged) == sorted(script.logged)
    assert report.statuses == {"ACCEPTED": len(acknowledged)}
    assert (report.sessions, report.searches, report.retries) == (30, len(script.searches), 0)
    assert report.joined == report.events == report.actions.total() == len(acknowledged)
    assert len({request.options.visitor.session_id for request in script.searches}) == 30
    assert {event.ranking_token for event in script.logged.values()} == {"token"}
    assert report.to_dict()["joined_share"] == 1.0


async def test_the_same_seed_sends_the_same_however_many_sessions_run_at_a_time() -> None:
    sent = []
    for at_once in (1, 7):
        async with scripted() as (script, address):
            run, _ = simulation(address, at_once=at_once)
            await run.run()
        requests = sorted(request.SerializeToString() for request in script.searches)
        events = sorted(event.SerializeToString() for event in script.logged.values())
        sent.append((requests, events))
    assert sent[0] == sent[1]


async def test_an_event_whose_acknowledgement_was_lost_is_sent_again_under_its_id() -> None:
    async with scripted() as (script, address):
        script.after_events.extend([unavailable, unavailable])
        run, acknowledged = simulation(address)
        report = await run.run()
    assert sorted(acknowledged) == sorted(script.logged)
    assert report.statuses["DUPLICATE"] > 0
    assert report.statuses.total() == len(acknowledged)
    assert report.retries == 2


async def test_a_server_that_is_away_full_ending_or_slow_is_asked_again() -> None:
    async with scripted() as (script, address):
        script.before_search.extend([full, unavailable, cancelled])
        script.before_events.extend([unavailable, full, never])
        run, acknowledged = simulation(address, timeout_seconds=0.5, at_once=1)
        report = await run.run()
    assert sorted(acknowledged) == sorted(script.logged)
    assert (report.retries, report.failed_searches, report.refusals) == (6, 0, {})


async def test_a_search_that_is_late_is_counted_and_its_session_goes_on() -> None:
    async with scripted() as (script, address):
        script.before_search.append(never)
        run, _ = simulation(address, timeout_seconds=0.5)
        report = await run.run()
    assert (report.failed_searches, report.sessions) == (1, 30)
    assert report.searches == len(script.searches) + 1


async def test_refused_events_are_counted_by_their_reason_and_not_sent_again() -> None:
    async with scripted() as (script, address):
        script.refuse = lambda event: event.HasField("dwell")
        run, acknowledged = simulation(address)
        report = await run.run()
    assert report.refusals == {"EXPIRED_TOKEN": report.actions["dwell"]}
    assert report.statuses["REFUSED"] == report.actions["dwell"] > 0
    assert len(acknowledged) == report.events - report.statuses["REFUSED"]
    assert "expired token" in "\n".join(report.lines())


async def test_without_tokens_nothing_is_sent() -> None:
    async with scripted() as (script, address):
        script.token = ""
        run, acknowledged = simulation(address)
        report = await run.run()
    assert (acknowledged, script.logged) == ([], {})
    assert report.without_token == report.searches
    assert report.to_dict()["joined_share"] is None


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL])
async def test_what_trying_again_does_not_mend_ends_the_simulation(code: grpc.StatusCode) -> None:
    async with scripted() as (script, address):
        script.before_search.append(lambda context: context.abort(code, "no"))
        run, _ = simulation(address)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await run.run()
    assert error.value.code() is code


async def test_a_server_that_does_not_come_back_is_given_up() -> None:
    async with scripted() as (script, address):
        script.before_events.extend(40 * [unavailable])
        run, _ = simulation(address, patience_seconds=0.0, at_once=1)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await run.run()
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_server_that_was_never_there_is_not_waited_for() -> None:
    async with scripted() as (_, address):
        pass
    run, _ = simulation(address, patience_seconds=3600.0)
    async with asyncio.timeout(30):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await run.run()
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def mean_click_probabilities() -> list[float]:
    """Over the queries, for hits in the corpus' order."""
    by_query = [
        PositionBased().click_probabilities([1.0 if grades[one] else 0.05 for one in HITS])
        for grades in JUDGED.qrels.values()
    ]
    return [sum(column) / len(by_query) for column in zip(*by_query, strict=True)]


async def test_clicks_by_rank_are_those_of_the_model() -> None:
    async with scripted() as (_, address):
        run, _ = simulation(address, sessions=400)
        report = await run.run()
    for rank, probability in enumerate(mean_click_probabilities(), start=1):
        shown, clicks = report.shown[rank], report.clicks[rank]
        spread = (shown * probability * (1 - probability)) ** 0.5
        assert abs(clicks - shown * probability) <= 4 * spread


async def first_of(enough: asyncio.Event, task: asyncio.Task[Any]) -> None:
    """Until there is enough; raises what ends the task before."""
    waiting = asyncio.create_task(enough.wait())
    await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        raise AssertionError(f"the simulation ended too soon: {task.result()}")


async def test_a_whole_sidecar_that_is_restarted_under_way(tmp_path: Path) -> None:
    """Drained twice in the middle of it and started again at the same address: every acknowledged
    event is in the log exactly once, and nothing else is."""
    config = dataclasses.replace(CONFIG, feedback=FeedbackConfig())
    enough = asyncio.Event()
    acknowledged: list[str] = []

    def take(ids: Any) -> None:
        acknowledged.extend(ids)
        if len(acknowledged) >= wanted:
            enough.set()

    wanted = 100
    async with serving(tmp_path, config) as server:
        await index_things(server)
        address = server.address
        users = Users(JUDGED, CLICK_MODELS["dcm"], seed=4, run="r")
        run = Simulation(users, Plan(address, COLLECTION, sessions=150, at_once=8), take)
        task = asyncio.create_task(run.run())
        await first_of(enough, task)
    config = with_server(config, listen=address)
    wanted = 250
    enough.clear()
    async with serving(tmp_path, config):
        await first_of(enough, task)
    async with serving(tmp_path, config):
        report = await task
    assert report.retries > 0
    assert (report.sessions, report.failed_searches, report.refusals) == (150, 0, {})
    in_log = event_ids(tmp_path / "feedback")
    assert set(in_log.values()) == {1}
    assert sorted(acknowledged) == sorted(in_log)
    assert report.events == len(acknowledged)
