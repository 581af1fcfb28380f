"""Simulated users at a running sidecar, over gRPC: many sessions at a time, each searching and
sending its events.

A search or an event that meets a server that is full, starting, draining or dead is sent again, an
event under its own id, until it is answered: nothing is counted twice, and what was acknowledged is
reported as it comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from sidecar.feedback_types import Action
from sidecar.simulation.report import Report
from sidecar.simulation.users import Act, Session, Users
from sidecar.v1 import (
    feedback_pb2,
    feedback_pb2_grpc,
    ranking_pb2,
    search_pb2,
    search_pb2_grpc,
)

T = TypeVar("T")
Acknowledged = Callable[[Sequence[str]], None]

# CANCELLED: by a server that ends; a call that is cancelled here is not answered with a status.
LATER = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
)
EVENTS_LATER = (*LATER, grpc.StatusCode.DEADLINE_EXCEEDED)
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
# A server that was restarted is found again within a pause, not within gRPC's two minutes.
_CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated. A call gets `timeout_seconds`; a server that goes away may come back
    within `patience_seconds`."""

    address: str
    collection: str
    sessions: int
    top_k: int = 10
    at_once: int = 16
    timeout_seconds: float = 10.0
    patience_seconds: float = 120.0


class Simulation:
    """One run. `acknowledged` is told the ids of events that are durable, as soon as they are."""

    def __init__(
        self,
        users: Users,
        plan: Plan,
        acknowledged: Acknowledged = lambda _: None,
        session_done: Callable[[], None] = lambda: None,
    ) -> None:
        self._users = users
        self._plan = plan
        self._acknowledged = acknowledged
        self._session_done = session_done
        self._report = Report()
        self._was_there = False

    async def run(self) -> Report:
        """All sessions. Raises grpc.aio.AioRpcError for a refusal that trying again will not mend,
        and for a server that is not there or does not come back."""
        started = time.monotonic()
        async with grpc.aio.insecure_channel(self._plan.address, _CHANNEL_OPTIONS) as channel:
            search = search_pb2_grpc.SearchServiceStub(channel)
            feedback = feedback_pb2_grpc.FeedbackServiceStub(channel)
            numbers = iter(range(self._plan.sessions))
            workers = [
                asyncio.create_task(self._work(numbers, search, feedback))
                for _ in range(min(self._plan.at_once, self._plan.sessions))
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
        self._report.seconds = time.monotonic() - started
        return self._report

    async def _work(
        self,
        numbers: Iterator[int],
        search: search_pb2_grpc.SearchServiceStub,
        feedback: feedback_pb2_grpc.FeedbackServiceStub,
    ) -> None:
        """One session after the other."""
        for number in numbers:
            session = self._users.session(number)
            for turn in range(len(session.query_ids)):
                ranking = await self._search(search, session, turn)
                if ranking is not None:
                    await self._react(feedback, session, turn, ranking)
            self._report.sessions += 1
            self._session_done()

    async def _search(
        self, stub: search_pb2_grpc.SearchServiceStub, session: Session, turn: int
    ) -> ranking_pb2.Ranking | None:
        """The ranking; None where the time did not suffice for one."""
        request = self._to_request(session, turn)
        timeout = self._plan.timeout_seconds
        self._report.searches += 1

        async def call() -> ranking_pb2.Ranking:
            started = time.monotonic()
            response: search_pb2.SearchResponse = await stub.Search(request, timeout=timeout)
            self._report.search_seconds.append(time.monotonic() - started)
            ranking: ranking_pb2.Ranking = response.ranking
            return ranking

        try:
            return await self._until_answered(call, LATER)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
            self._report.failed_searches += 1
            return None

    def _to_request(self, session: Session, turn: int) -> search_pb2.SearchRequest:
        visitor = ranking_pb2.Visitor(session_id=session.session_id, user_id=session.user_id)
        return search_pb2.SearchRequest(
            collection=self._plan.collection,
            query=self._users.text(session.query_ids[turn]),
            options=ranking_pb2.RankingOptions(top_k=self._plan.top_k, visitor=visitor),
        )

    async def _react(
        self,
        stub: feedback_pb2_grpc.FeedbackServiceStub,
        session: Session,
        turn: int,
        ranking: ranking_pb2.Ranking,
    ) -> None:
        """Sends what the user does with a ranking, and keeps the counts."""
        acts = self._users.acts(session, turn, [hit.doc_id for hit in ranking.hits])
        self._count(ranking, acts)
        if not ranking.ranking_token:
            self._report.without_token += 1
            return
        events = [to_event(act, ranking.ranking_token) for act in acts]
        request = feedback_pb2.LogEventsRequest(events=events)
        timeout = self._plan.timeout_seconds

        async def call() -> feedback_pb2.LogEventsResponse:
            results: feedback_pb2.LogEventsResponse = await stub.LogEvents(request, timeout=timeout)
            return results

        started = time.monotonic()
        response = await self._until_answered(call, EVENTS_LATER)
        self._report.event_seconds.append(time.monotonic() - started)
        self._take(response.results)

    def _count(self, ranking: ranking_pb2.Ranking, acts: Sequence[Act]) -> None:
        report = self._report
        report.variants["interleaved" if ranking.interleaved else ranking.variant] += 1
        report.explored += ranking.HasField("swapped_rank")
        report.shown.update(hit.rank for hit in ranking.hits)
        report.actions.update(act.action for act in acts)
        report.clicks.update(act.rank for act in acts if act.action is Action.CLICK)

    def _take(self, results: Sequence[feedback_pb2.EventResult]) -> None:
        report, logged = self._report, []
        for result in results:
            status = feedback_pb2.EventStatus.Name(result.status)
            report.statuses[status.removeprefix("EVENT_STATUS_")] += 1
            if result.status == feedback_pb2.EVENT_STATUS_REFUSED:
                refusal = feedback_pb2.EventRefusal.Name(result.refusal)
                report.refusals[refusal.removeprefix("EVENT_REFUSAL_")] += 1
            else:
                logged.append(result.event_id)
                report.joined += result.joined
        self._acknowledged(logged)

    async def _until_answered(
        self, call: Callable[[], Awaitable[T]], later: Sequence[grpc.StatusCode]
    ) -> T:
        """The answer of a call that is sent again while the server cannot take it."""
        give_up = time.monotonic() + self._plan.patience_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = await call()
                self._was_there = True
                return answer
            except grpc.aio.AioRpcError as error:
                asked = asked_pause(error)
                self._was_there |= asked > 0
                if error.code() not in later or time.monotonic() > give_up or not self._was_there:
                    raise
                self._report.retries += 1
                await asyncio.sleep(asked or pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def to_event(act: Act, token: str) -> feedback_pb2.Event:
    """The event of an act on the ranking of a token, which happens when it is received."""
    event = feedback_pb2.Event(event_id=act.event_id, ranking_token=token, doc_id=act.doc_id)
    match act.action:
        case Action.CLICK:
            event.click.SetInParent()
        case Action.DWELL:
            event.dwell.seconds = act.value or 0.0
        case Action.CART_ADDITION:
            event.cart_addition.SetInParent()
        case Action.ORDER:
            event.order.value = act.value or 0.0
        case Action.VIEW:
            event.view.last_rank = int(act.value or 0)
        case _:
            raise ValueError(f"no simulated user does this: {act.action}")
    return event


def asked_pause(error: grpc.RpcError) -> float:
    """How long the server asks to wait; 0 where it does not say."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has what a Call has
    for detail in status.details if status else ():
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToTimedelta().total_seconds())
    return 0.0
