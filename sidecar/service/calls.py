"""What handlers share: who calls, streams that end with a drain, threads for calls that block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeAlias, TypeVar

import grpc

from sidecar.errors import DrainingError
from sidecar.metrics import FINAL_RANKINGS
from sidecar.service.messages.checks import shorten
from sidecar.types import Ranking

RETRY_SECONDS = 1.0
MAX_CALLER_BYTES = 128
P = ParamSpec("P")
T = TypeVar("T")
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


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


async def until_draining(
    requests: AsyncIterator[T], draining: asyncio.Event
) -> AsyncGenerator[T, None]:
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

    def close(self, wait: bool = True) -> None:
        """Takes no more calls, and waits for those under way."""
        self._executor.shutdown(wait)
