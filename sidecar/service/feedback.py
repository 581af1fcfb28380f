"""FeedbackService: check each event, log those that are in order, reply. Two writers, one logic."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence

from sidecar.config import Config
from sidecar.errors import DeadlineError, OverloadedError
from sidecar.feedback_types import EventResult
from sidecar.metrics import FEEDBACK_EVENTS
from sidecar.pipeline.feedback import EVENTS_IN_ONE_GO, Report
from sidecar.service.calls import RETRY_SECONDS, Context, until_draining
from sidecar.service.messages.feedback import check_events, from_result, to_report
from sidecar.service.parts import PartsOnceLoaded
from sidecar.v1 import feedback_pb2, feedback_pb2_grpc

Events = Sequence[feedback_pb2.Event]
Results = list[feedback_pb2.EventResult]


class FeedbackService(feedback_pb2_grpc.FeedbackServiceServicer):
    """What users did with rankings."""

    def __init__(self, parts: PartsOnceLoaded, config: Config, draining: asyncio.Event) -> None:
        self._parts = parts
        self._timeout_seconds = config.server.default_timeout_seconds
        self._most_waiting = max(1, config.server.max_calls // 2)
        self._stream_requests = config.feedback.stream_requests
        self._draining = draining
        self._waiting = 0

    async def LogEvents(
        self, request: feedback_pb2.LogEventsRequest, context: Context
    ) -> feedback_pb2.LogEventsResponse:
        """Logs events."""
        with self._counted():
            results = await self._log(request.events, context.time_remaining())
        return feedback_pb2.LogEventsResponse(results=results)

    async def LogEventStream(
        self, requests: AsyncIterator[feedback_pb2.LogEventStreamRequest], context: Context
    ) -> AsyncIterator[feedback_pb2.LogEventStreamResponse]:
        """Logs events, request after request; a few are read ahead, so that they share writes."""
        ahead: asyncio.Queue[asyncio.Task[Results] | None] = asyncio.Queue()
        slots = asyncio.Semaphore(self._stream_requests)
        reading = asyncio.create_task(self._read(requests, ahead, slots))
        try:
            while (logging := await ahead.get()) is not None:
                results = await logging
                slots.release()
                yield feedback_pb2.LogEventStreamResponse(results=results)
            await reading
        finally:
            await _leave(reading, ahead)

    async def _read(
        self,
        requests: AsyncIterator[feedback_pb2.LogEventStreamRequest],
        ahead: asyncio.Queue[asyncio.Task[Results] | None],
        slots: asyncio.Semaphore,
    ) -> None:
        """Begins each request once one of those before it is answered; None is after the last."""
        try:
            await slots.acquire()
            async with contextlib.aclosing(until_draining(requests, self._draining)) as arriving:
                async for request in arriving:
                    ahead.put_nowait(asyncio.create_task(self._log(request.events)))
                    await slots.acquire()
        finally:
            ahead.put_nowait(None)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Half of the calls are left to searches, should the disk stall."""
        if self._waiting >= self._most_waiting:
            raise OverloadedError(
                f"{self._waiting:,} calls with events wait for the disk: send it again later",
                RETRY_SECONDS,
            )
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _log(self, events: Events, remaining_seconds: float | None = None) -> Results:
        """What became of events, in their order, once those accepted are durable."""
        check_events(events)
        seconds = self._timeout_seconds if remaining_seconds is None else remaining_seconds
        try:
            async with asyncio.timeout(seconds):
                results = await self._take(events)
        except TimeoutError:
            raise DeadlineError(
                f"the events are not known to be durable after {seconds:.1f} s: send them again "
                "with the same ids"
            ) from None
        for result in results:
            FEEDBACK_EVENTS.labels(result.status.name, result.refusal.name).inc()
        return [from_result(result) for result in results]

    async def _take(self, events: Events) -> list[EventResult]:
        feedback = self._parts.get().feedback
        read: list[Report | EventResult] = []
        for start in range(0, len(events), EVENTS_IN_ONE_GO):
            read += [to_report(event) for event in events[start : start + EVENTS_IN_ONE_GO]]
            await asyncio.sleep(0)  # what else is due goes first
        logged = iter(await feedback.log([one for one in read if isinstance(one, Report)]))
        return [one if isinstance(one, EventResult) else next(logged) for one in read]


async def _leave(
    reading: asyncio.Task[None], ahead: asyncio.Queue[asyncio.Task[Results] | None]
) -> None:
    """Ends what is under way for a stream that has ended."""
    tasks: list[asyncio.Task[Results] | asyncio.Task[None]] = [reading]
    while not ahead.empty():
        logging = ahead.get_nowait()
        tasks += [] if logging is None else [logging]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
