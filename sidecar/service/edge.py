"""What happens to every call before and after its handler: admission, count, errors to statuses.

Admission is refused while the server drains and beyond `max_calls` calls under way. Handlers raise
SidecarError. Cancellation passes through untouched, but for calls that the drain cuts off: those
are told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from sidecar.errors import CallerLeftError, OverloadedError
from sidecar.metrics import CALL_SECONDS, CALLS_UNDER_WAY
from sidecar.service.calls import RETRY_SECONDS, Context, to_draining_error
from sidecar.service.errors import abort, to_code

PACKAGE = "/sidecar.v1."

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class Edge(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic when it runs
    """Wraps every handler of sidecar.v1; health and reflection pass by."""

    def __init__(self, max_calls: int) -> None:
        self.draining = asyncio.Event()
        self._max_calls = max_calls
        self._under_way: set[asyncio.Task[Any]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_cutting_off = False

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The handler of a call, wrapped."""
        method = await continuation(handler_call_details)
        if method is None or not handler_call_details.method.startswith(PACKAGE):
            return method
        return self._wrapped(method, handler_call_details.method.removeprefix(PACKAGE))

    async def wait_idle(self) -> None:
        """Returns once no call is under way."""
        await self._idle.wait()

    def cut_off(self) -> None:
        """Ends the calls under way, telling their callers that the server shuts down."""
        self._is_cutting_off = True
        for call in self._under_way:
            call.cancel()

    def calls_under_way(self) -> int:
        """How many there are."""
        return len(self._under_way)

    def _wrapped(self, method: Any, name: str) -> Any:
        kind = f"{_arity(method.request_streaming)}_{_arity(method.response_streaming)}"
        behavior = getattr(method, kind)
        wrap = self._streamed if inspect.isasyncgenfunction(behavior) else self._awaited
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(wrap(behavior, name), method.request_deserializer, method.response_serializer)

    def _awaited(self, behavior: Any, name: str) -> Any:
        async def handle(request: Any, context: Context) -> Any:
            async with self._call(context, name):
                return await behavior(request, context)

        return handle

    def _streamed(self, behavior: Any, name: str) -> Any:
        async def handle(request: Any, context: Context) -> None:
            responses = behavior(request, context)
            async with self._call(context, name), contextlib.aclosing(responses):
                async for response in responses:
                    await context.write(response)

        return handle

    @contextlib.asynccontextmanager
    async def _call(self, context: Context, name: str) -> AsyncIterator[None]:
        with _measured(name, context) as measure:
            try:
                self._check_admitted()
                with self._counted():
                    yield
            except asyncio.CancelledError as cancelled:
                await self._tell_if_cut_off(context, measure, cancelled)
            except Exception as error:
                gone = CallerLeftError("the caller left") if _could_not_send(error) else None
                measure.code = to_code(gone or error)
                await _abort_unless_gone(context, gone or error)

    async def _tell_if_cut_off(
        self, context: Context, measure: _Measure, cancelled: asyncio.CancelledError
    ) -> None:
        if not self._is_cutting_off:
            raise cancelled
        error = to_draining_error()
        measure.code = to_code(error)
        await _abort_unless_gone(context, error)

    def _check_admitted(self) -> None:
        if self.draining.is_set():
            raise to_draining_error()
        if len(self._under_way) >= self._max_calls:
            raise OverloadedError(
                f"{self._max_calls:,} calls are under way: send it again later", RETRY_SECONDS
            )

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way.discard(task)
            if not self._under_way:
                self._idle.set()


@dataclass(slots=True)
class _Measure:
    """How a call ended."""

    code: grpc.StatusCode = grpc.StatusCode.OK


@contextlib.contextmanager
def _measured(name: str, context: Context) -> Iterator[_Measure]:
    """Counts and times a call."""
    measure, started = _Measure(), time.perf_counter()
    CALLS_UNDER_WAY.labels(name).inc()
    try:
        yield measure
    except asyncio.CancelledError:
        remaining = context.time_remaining()
        late = remaining is not None and remaining <= 0.0
        measure.code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
        raise
    finally:
        CALLS_UNDER_WAY.labels(name).dec()
        CALL_SECONDS.labels(name, measure.code.name).observe(time.perf_counter() - started)


async def _abort_unless_gone(context: Context, error: Exception) -> None:
    """Ends a call with the status of an error; as a cancelled one if nobody is there to get it."""
    try:
        await abort(context, error)
    except grpc.aio.InternalError:
        raise asyncio.CancelledError("the caller left") from None


def _could_not_send(error: BaseException) -> bool:
    """Whether gRPC only says that it could not send: the caller left, and the cancellation of its
    call is still on the way."""
    if isinstance(error, BaseExceptionGroup):
        return all(_could_not_send(one) for one in error.exceptions)
    return isinstance(error, grpc.aio.InternalError)


def _arity(streaming: bool) -> str:
    return "stream" if streaming else "unary"
