"""FeedbackService: check each event, log those that are in order, reply. Two writers, one logic."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from sidecar.config import FeedbackConfig
from sidecar.impressions import EventResult
from sidecar.metrics import FEEDBACK_EVENTS
from sidecar.pipeline.feedback import EVENTS_IN_ONE_GO, Report
from sidecar.service.calls import Context, until_draining
from sidecar.service.messages.feedback import check_events, from_result, to_report
from sidecar.service.parts import PartsOnceLoaded
from sidecar.v1 import feedback_pb2, feedback_pb2_grpc

Events = Sequence[feedback_pb2.Event]
Results = list[feedback_pb2.EventResult]


class FeedbackService(feedback_pb2_grpc.FeedbackServiceServicer):
    """What users did with rankings."""

    def __init__(
        self, parts: PartsOnceLoaded, config: FeedbackConfig, draining: asyncio.Event
    ) -> None:
        self._parts = parts
        self._config = config
        self._draining = draining

    async def LogEvents(
        self, request: feedback_pb2.LogEventsRequest, context: Context
    ) -> feedback_pb2.LogEventsResponse:
        """Logs events."""
        return feedback_pb2.LogEventsResponse(results=await self._log(request.events))

    async def LogEventStream(
        self, requests: AsyncIterator[feedback_pb2.LogEventStreamRequest], context: Context
    ) -> AsyncIterator[feedback_pb2.LogEventStreamResponse]:
        """Logs events, request after request; a few are read ahead, so that they share writes."""
        ahead: asyncio.Queue[asyncio.Task[Results] | None] = asyncio.Queue()
        slots = asyncio.Semaphore(self._config.stream_requests)
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

    async def _log(self, events: Events) -> Results:
        """What became of events, in their order, once those accepted are durable."""
        check_events(events)
        feedback = self._parts.get().feedback
        read: list[Report | EventResult] = []
        for start in range(0, len(events), EVENTS_IN_ONE_GO):
            read += [to_report(event) for event in events[start : start + EVENTS_IN_ONE_GO]]
            await asyncio.sleep(0)  # what else is due goes first
        logged = iter(await feedback.log([one for one in read if isinstance(one, Report)]))
        results = [one if isinstance(one, EventResult) else next(logged) for one in read]
        for result in results:
            FEEDBACK_EVENTS.labels(result.status.name, result.refusal.name).inc()
        return [from_result(result) for result in results]


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
