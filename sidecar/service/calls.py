"""What handlers share: deadlines of calls, and the threads in which blocking calls run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeAlias, TypeVar

import grpc

from sidecar.config import ServerConfig
from sidecar.errors import DeadlineError, DrainingError
from sidecar.metrics import FINAL_RANKINGS
from sidecar.pipeline.deadline import Deadline
from sidecar.service.loop_lag import LoopLag
from sidecar.service.messages.checks import shorten
from sidecar.types import Ranking

RETRY_SECONDS = 1.0
# Of the time that is left, what may be kept back because the machine is late.
MOST_LATE = 0.25
MAX_CALLER_BYTES = 128
P = ParamSpec("P")
T = TypeVar("T")
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class Deadlines:
    """When rankings have to be there for answers to be in time."""

    def __init__(self, config: ServerConfig, lag: LoopLag | None = None) -> None:
        self._config = config
        self._lag = lag or LoopLag()

    def of(self, context: Context, seconds: float | None = None) -> Deadline:
        """`seconds` (None: the configured default) from now, but always before the caller's own
        deadline, if it set one, by a margin: the configured one, and as late as this machine is.

        Raises DeadlineError if that is over.
        """
        remaining: float | None = context.time_remaining()
        if remaining is None:
            default = self._config.default_timeout_seconds
            return Deadline.after(default if seconds is None else seconds)
        late = min(self._lag.seconds, MOST_LATE * max(0.0, remaining))
        left = remaining - self._config.reply_margin_seconds - late
        if left <= 0.0:
            raise DeadlineError("the deadline passed before the work began: allow more time")
        return Deadline.after(left if seconds is None else min(left, seconds))


def to_caller(context: Context, metadata_key: str) -> str:
    """Whose share a call counts for, as the metadata says; "" where it does not say."""
    for key, text in context.invocation_metadata() or ():
        if key == metadata_key.lower():  # as gRPC has all keys
            name = text if isinstance(text, str) else text.decode(errors="replace")
            return shorten(name, MAX_CALLER_BYTES)
    return ""


def count_final(ranking: Ranking) -> None:
    """Counts a ranking that is sent, if it is the last one of its request."""
    if ranking.final:
        degraded = "true" if ranking.degraded else "false"
        FINAL_RANKINGS.labels(ranking.stage.name, degraded).inc()


async def until_draining(requests: AsyncIterator[T], draining: asyncio.Event) -> AsyncIterator[T]:
    """The requests of a stream that may go on for ever; raises DrainingError once the server
    drains and the request under way is answered."""
    iterator = aiter(requests)
    drained = asyncio.create_task(draining.wait())
    try:
        while not draining.is_set():
            arrived = asyncio.ensure_future(_next(iterator))
            await asyncio.wait({arrived, drained}, return_when=asyncio.FIRST_COMPLETED)
            if not arrived.done():
                arrived.cancel()
            elif (request := arrived.result()) is None:
                return
            else:
                yield request
    finally:
        drained.cancel()
    raise to_draining_error()


async def _next(iterator: AsyncIterator[T]) -> T | None:
    return await anext(iterator, None)


def to_draining_error() -> DrainingError:
    """The error of everything that is new while the server drains."""
    return DrainingError(
        "the server is shutting down: send it to another replica, or again later", RETRY_SECONDS
    )


class Threads:
    """Threads for calls that block. A call that is cancelled runs on in its thread."""

    def __init__(self, name: str, count: int) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the call returns or raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: call(*args, **kwargs))

    def close(self) -> None:
        """Waits for the calls under way."""
        self._executor.shutdown()
