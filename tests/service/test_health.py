"""grpc.health.v1: every watcher hears every change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.service.health import NOT_SERVING, SERVICE_UNKNOWN, SERVING, HealthService


@contextlib.asynccontextmanager
async def stub_of(health: HealthService) -> AsyncIterator[Any]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield health_pb2_grpc.HealthStub(channel)
    finally:
        await server.stop(None)


async def status_of(call: Any) -> int:
    return int((await asyncio.wait_for(call.read(), 10)).status)


async def test_all_watchers_hear_every_change_also_after_one_has_left() -> None:
    health = HealthService(["s"])
    async with stub_of(health) as stub:
        request = health_pb2.HealthCheckRequest(service="s")
        leaving, staying = stub.Watch(request), stub.Watch(request)
        assert await status_of(leaving) == NOT_SERVING
        assert await status_of(staying) == NOT_SERVING
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving.read()
        health.set_all(serving=True)
        assert await status_of(staying) == SERVING
        health.set_all(serving=False)
        assert await status_of(staying) == NOT_SERVING
        health.close()
        assert await staying.read() is grpc.aio.EOF


async def test_a_service_that_is_not_there() -> None:
    async with stub_of(HealthService(["s"])) as stub:
        request = health_pb2.HealthCheckRequest(service="other")
        assert await status_of(stub.Watch(request)) == SERVICE_UNKNOWN
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.Check(request)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_the_server_and_its_services_are_checked_by_name() -> None:
    health = HealthService(["s"])
    async with stub_of(health) as stub:
        for serving, status in ((False, NOT_SERVING), (True, SERVING)):
            health.set_all(serving)
            for service in ("", "s"):
                reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
                assert reply.status == status
