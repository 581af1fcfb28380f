"""One RerankSession: many requests over one stream, as rerank.proto describes it.

    frames in -> `Session` opens, fills and starts requests -> one task a request runs the pipeline
    frames out <- `Outbox` <- rankings, failures

Whatever is wrong with one request ends that request with `failed`; the stream goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sidecar.errors import InvalidFieldError, OverloadedError, SidecarError
from sidecar.pipeline.feedback import Asked, Feedback
from sidecar.service.calls import RETRY_SECONDS, Context, count_final, to_draining_error
from sidecar.service.deadlines import Deadlines
from sidecar.service.errors import to_failed
from sidecar.service.messages.checks import check_count, check_text, shorten, under
from sidecar.service.messages.ranking import from_ranking
from sidecar.service.messages.rerank import (
    CandidateList,
    to_duration,
    to_started,
    to_timeout_seconds,
)
from sidecar.service.outbox import Frame, Outbox
from sidecar.service.parts import Parts
from sidecar.service.texts import Texts
from sidecar.types import Ranking, RerankQuery
from sidecar.v1 import ranking_pb2, rerank_pb2

MAX_REQUEST_ID_BYTES = 128
MAX_OPEN_TEXT_BYTES = 64 * 1024 * 1024
MAX_CLOSED_EARLY = 1024


@dataclass(slots=True)
class OpenRequest:
    """A request between `start` and its last frame; `task` runs from `end` on. Once `refused`, only
    that last frame is left of it."""

    query: RerankQuery
    timeout_seconds: float | None
    candidates: CandidateList
    task: asyncio.Task[None] | None = None
    refused: bool = False


class Session:
    """The server's side of one stream."""

    def __init__(
        self,
        parts: Parts,
        most_open: int,
        deadlines: Deadlines,
        draining: asyncio.Event,
        context: Context,
        texts: Texts,
        caller: str,
    ) -> None:
        self._parts = parts
        self._most_open = most_open
        self._deadlines = deadlines
        self._draining = draining
        self._context = context
        self._texts = texts
        self._caller = caller
        self._open: dict[str, OpenRequest] = {}
        self._closed_early: OrderedDict[str, None] = OrderedDict()
        self._outbox = Outbox(2 * most_open, self._forget)
        self._changed = asyncio.Event()
        self._announced = False

    async def run(self, requests: AsyncIterator[rerank_pb2.RerankSessionRequest]) -> None:
        """Serves the stream until the client has half-closed, or the server drains, and every
        request is answered. Cancelling it cancels its requests."""
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self._outbox.write_to(self._context.write))
            reader = tasks.create_task(self._read(requests, tasks))
            announcer = tasks.create_task(self._announce_drain())
            await self._wait_finished(reader)
            reader.cancel()
            announcer.cancel()
            self._outbox.close()
            await writer

    async def _read(
        self, requests: AsyncIterator[rerank_pb2.RerankSessionRequest], tasks: asyncio.TaskGroup
    ) -> None:
        async for request in requests:
            self._take(request, tasks)
            await self._outbox.wait_room()
        for request_id in [key for key, one in self._open.items() if one.task is None]:
            self._forget(request_id)

    async def _announce_drain(self) -> None:
        await self._draining.wait()
        self._outbox.put(Frame(shutting_down=rerank_pb2.SessionShuttingDown()))
        self._announced = True
        self._changed.set()

    async def _wait_finished(self, reader: asyncio.Task[None]) -> None:
        reader.add_done_callback(lambda _: self._changed.set())
        while self._open or not (reader.done() or self._announced):
            self._changed.clear()
            await self._changed.wait()

    def _take(self, request: rerank_pb2.RerankSessionRequest, tasks: asyncio.TaskGroup) -> None:
        """Acts on one frame; an error in it is the request's, not the stream's."""
        request_id = shorten(request.request_id, MAX_REQUEST_ID_BYTES)
        try:
            check_text("request_id", request.request_id, MAX_REQUEST_ID_BYTES)
            match request.WhichOneof("frame"):
                case "start":
                    self._start(request_id, request.start)
                case "cancel":
                    self._cancel(request_id)
                case "candidates" | "end" if request_id in self._closed_early:
                    if request.HasField("end"):
                        del self._closed_early[request_id]
                case "candidates":
                    self._add(request_id, request.candidates)
                case "end":
                    self._end(request_id, tasks)
                case _:
                    raise InvalidFieldError("frame", "is not set: send start, candidates, ...")
        except SidecarError as error:
            self._refuse(request_id, error)

    def _start(self, request_id: str, start: rerank_pb2.SessionStart) -> None:
        self._closed_early.pop(request_id, None)
        if request_id in self._open:
            raise InvalidFieldError("request_id", "is in use: wait for its final ranking")
        if self._draining.is_set():
            raise to_draining_error()
        if len(self._open) >= self._most_open:
            raise _full(f"{len(self._open)} requests are open in this session")
        with under("start"):
            query, seconds = to_started(start, self._caller), to_timeout_seconds(start)
        self._open[request_id] = OpenRequest(query, seconds, CandidateList(self._texts))
        self._outbox.put(Frame(request_id=request_id, started=rerank_pb2.SessionStarted()))

    def _add(self, request_id: str, chunk: rerank_pb2.SessionCandidates) -> None:
        request = self._not_ended(request_id)
        with under("candidates"):
            check_count("candidates", len(chunk.candidates), 1000, "candidates")
            request.candidates.extend(chunk.candidates)
        if sum(one.candidates.text_bytes for one in self._open.values()) > MAX_OPEN_TEXT_BYTES:
            raise _full("too much text is open in this session")

    def _end(self, request_id: str, tasks: asyncio.TaskGroup) -> None:
        request = self._not_ended(request_id)
        query = dataclasses.replace(request.query, candidates=request.candidates.close())
        request.task = tasks.create_task(self._rank(request_id, query, request.timeout_seconds))

    def _cancel(self, request_id: str) -> None:
        self._closed_early.pop(request_id, None)
        self._outbox.discard(request_id)
        self._stop(request_id)
        self._forget(request_id)

    def _not_ended(self, request_id: str) -> OpenRequest:
        request = self._open.get(request_id)
        if request is None or request.refused:
            raise InvalidFieldError("request_id", "is not open: send `start` first")
        if request.task is not None:
            raise InvalidFieldError("request_id", "was closed by `end`: nothing may follow")
        return request

    async def _rank(
        self, request_id: str, query: RerankQuery, timeout_seconds: float | None
    ) -> None:
        try:
            deadline = self._deadlines.of(self._context, timeout_seconds)
            stages = self._parts.serving.rerank(query, deadline)
            async with contextlib.aclosing(stages) as rankings:
                async for ranking in rankings:
                    count_final(ranking)
                    reply = to_reply(ranking, query, self._parts.feedback)
                    self._outbox.put(Frame(request_id=request_id, ranking=reply), ranking.final)
        except Exception as error:
            self._answer(request_id, error)

    def _refuse(self, request_id: str, error: SidecarError) -> None:
        """Ends a request, open or not, because of one of its frames; those that the client had
        sent already are passed over."""
        self._outbox.discard(request_id)
        self._stop(request_id)
        nothing = CandidateList(self._texts)
        self._open[request_id] = OpenRequest(RerankQuery("", ()), None, nothing, refused=True)
        self._closed_early[request_id] = None
        if len(self._closed_early) > MAX_CLOSED_EARLY:
            self._closed_early.popitem(last=False)
        self._answer(request_id, error)

    def _answer(self, request_id: str, error: Exception) -> None:
        if isinstance(error, OverloadedError):
            back_off = rerank_pb2.SessionBackOff(retry_delay=to_duration(error.retry_seconds))
            self._outbox.put(Frame(request_id=request_id, back_off=back_off), last=True)
        else:
            self._outbox.put(Frame(request_id=request_id, failed=to_failed(error)), last=True)

    def _stop(self, request_id: str) -> None:
        request = self._open.get(request_id)
        if request is not None and request.task is not None:
            request.task.cancel()

    def _forget(self, request_id: str) -> None:
        self._open.pop(request_id, None)
        self._changed.set()


def to_reply(ranking: Ranking, query: RerankQuery, feedback: Feedback) -> ranking_pb2.Ranking:
    """A ranking of the caller's list, logged, as the caller asked for it."""
    token = feedback.show(ranking, Asked(query.text, query.options, query.caller))
    return from_ranking(ranking, query.options, token)


def _full(why: str) -> OverloadedError:
    return OverloadedError(why, RETRY_SECONDS)
