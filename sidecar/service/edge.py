"""What happens to every call before and after its handler: admission, count, errors to statuses.

Admission is refused while the server drains and beyond `max_calls` calls under way. Handlers raise
SidecarError; cancellation passes through untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from sidecar.errors import CallerLeftError, OverloadedError
from sidecar.service.calls import RETRY_SECONDS, Context, to_draining_error
from sidecar.service.errors import abort

PACKAGE = "/sidecar.v1."

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class Edge(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic when it runs
    """Wraps every handler of sidecar.v1; health and reflection pass by."""

    def __init__(self, max_calls: int) -> None:
        self.draining = asyncio.Event()
        self._max_calls = max_calls
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The handler of a call, wrapped."""
        method = await continuation(handler_call_details)
        if method is None or not handler_call_details.method.startswith(PACKAGE):
            return method
        return self._wrapped(method)

    async def wait_idle(self) -> None:
        """Returns once no call is under way."""
        await self._idle.wait()

    def _wrapped(self, method: Any) -> Any:
        kind = f"{_arity(method.request_streaming)}_{_arity(method.response_streaming)}"
        behavior = getattr(method, kind)
        wrap = self._streamed if inspect.isasyncgenfunction(behavior) else self._awaited
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(wrap(behavior), method.request_deserializer, method.response_serializer)

    def _awaited(self, behavior: Any) -> Any:
        async def handle(request: Any, context: Context) -> Any:
            async with self._call(context):
                return await behavior(request, context)

        return handle

    def _streamed(self, behavior: Any) -> Any:
        async def handle(request: Any, context: Context) -> None:
            responses = behavior(request, context)
            async with self._call(context), contextlib.aclosing(responses):
                async for response in responses:
                    await context.write(response)

        return handle

    @contextlib.asynccontextmanager
    async def _call(self, context: Context) -> AsyncIterator[None]:
        try:
            self._check_admitted()
            self._enter()
            try:
                yield
            finally:
                self._leave()
        except Exception as error:
            gone = CallerLeftError("the caller left") if _could_not_send(error) else None
            await abort(context, gone or error)

    def _check_admitted(self) -> None:
        if self.draining.is_set():
            raise to_draining_error()
        if self._under_way >= self._max_calls:
            raise OverloadedError(
                f"{self._max_calls:,} calls are under way: send it again later", RETRY_SECONDS
            )

    def _enter(self) -> None:
        self._under_way += 1
        self._idle.clear()

    def _leave(self) -> None:
        self._under_way -= 1
        if self._under_way == 0:
            self._idle.set()


def _could_not_send(error: BaseException) -> bool:
    """Whether gRPC only says that it could not send: the caller left, and the cancellation of its
    call is still on the way."""
    if isinstance(error, BaseExceptionGroup):
        return all(_could_not_send(one) for one in error.exceptions)
    return isinstance(error, grpc.aio.InternalError)


def _arity(streaming: bool) -> str:
    return "stream" if streaming else "unary"
