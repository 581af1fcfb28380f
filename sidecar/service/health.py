"""grpc.health.v1, with a `Watch` that sends every change to every watcher.

Not grpc_health's own aio servicer: there, watchers of one service share a condition that the first
one to leave removes, after which the others hear nothing more (test_health.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.service.calls import Context

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # untyped
    """The health of the server ("") and of each of its services."""

    def __init__(self, services: Iterable[str]) -> None:
        self._statuses = dict.fromkeys(["", *services], NOT_SERVING)
        self._changed = asyncio.Event()
        self._closed = False

    def set_all(self, serving: bool) -> None:
        """Says that all services serve, or that none does."""
        self._statuses = dict.fromkeys(self._statuses, SERVING if serving else NOT_SERVING)
        self._wake()

    def close(self) -> None:
        """Ends every `Watch`."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """The status now; NOT_FOUND for an unknown service."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"service {request.service[:200]!r} is unknown"
            )
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status now and after every change, for as long as both sides live."""
        sent = None
        while not self._closed:
            changed = self._changed
            status = self._statuses.get(request.service, SERVICE_UNKNOWN)
            if status != sent:
                yield health_pb2.HealthCheckResponse(status=status)
                sent = status
            await changed.wait()
