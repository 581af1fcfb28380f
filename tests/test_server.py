"""Startup, serving and drain of a whole server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from fakes import FakeCrossEncoder
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from serving import CONFIG, Gate, loader, refused, serving, with_server

from sidecar.errors import ConfigurationError, ModelError
from sidecar.server import SERVICES, Loaded, serve
from sidecar.service.health import NOT_SERVING, SERVING
from sidecar.v1 import rerank_pb2_grpc
from sidecar.v1.rerank_pb2 import Candidate, RerankRequest

REQUEST = RerankRequest(query="tea", candidates=[Candidate(doc_id="a", text="tea")])


async def watched(channel: grpc.aio.Channel, service: str = "") -> Any:
    return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service))


async def status_of(call: Any) -> int:
    return int((await asyncio.wait_for(call.read(), 10)).status)


async def test_while_models_load_health_says_so_and_calls_are_refused(tmp_path: Path) -> None:
    loading, stop = threading.Event(), asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    bound: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def load(config: Any, data_dir: Path) -> Loaded:
        assert loading.wait(30)
        return loader()(config, data_dir)

    config = with_server(CONFIG, listen=f"127.0.0.1:{free_port()}")
    bound.set_result(config.server.listen)
    task = asyncio.create_task(serve(config, tmp_path, address.set_result, load=load, stop=stop))
    async with grpc.aio.insecure_channel(bound.result()) as channel:
        await asyncio.wait_for(channel.channel_ready(), 10)
        calls = [await watched(channel, service) for service in ("", *SERVICES)]
        assert [await status_of(call) for call in calls] == [NOT_SERVING] * len(calls)
        with refused() as refusal:
            await rerank_pb2_grpc.RerankServiceStub(channel).Rerank(REQUEST)
        assert not address.done()
        loading.set()
        assert [await status_of(call) for call in calls] == [SERVING] * len(calls)
        assert await address == config.server.listen
        reply = await rerank_pb2_grpc.RerankServiceStub(channel).Rerank(REQUEST)
        assert reply.ranking.final
        stop.set()
        await task
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert refusal.reason == "STARTING"
    assert refusal.retry_seconds is not None


def free_port() -> int:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def test_drain_tells_watchers_refuses_what_is_new_and_finishes_the_rest(
    tmp_path: Path,
) -> None:
    gate = Gate()
    async with serving(tmp_path, load=loader(FakeCrossEncoder(before_score=gate))) as served:
        watch = await watched(served.channel, SERVICES[1])
        assert await status_of(watch) == SERVING
        under_way = served.rerank.Rerank(REQUEST)
        await gate.reached.wait()
        served.stop.set()
        assert await status_of(watch) == NOT_SERVING
        refusal = await first_refusal(served.rerank)
        gate.opened.set()
        assert (await under_way).ranking.final
        await asyncio.wait_for(served.task, 10)
        assert await watch.read() is grpc.aio.EOF
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert refusal.reason == "DRAINING"
    assert refusal.retry_seconds is not None


async def first_refusal(stub: Any) -> Any:
    """Watchers hear of the drain just before new calls are refused."""
    with refused() as refusal:
        while True:
            await stub.Rerank(REQUEST)
    return refusal


async def test_the_notice_time_still_accepts_calls(tmp_path: Path) -> None:
    config = with_server(CONFIG, drain_notice_seconds=0.3)
    async with serving(tmp_path, config) as served:
        watch = await watched(served.channel)
        assert await status_of(watch) == SERVING
        served.stop.set()
        assert await status_of(watch) == NOT_SERVING
        assert (await served.rerank.Rerank(REQUEST)).ranking.final


async def test_a_call_that_outlasts_the_drain_is_cut_off(tmp_path: Path) -> None:
    gate = Gate()
    config = with_server(CONFIG, drain_seconds=0.1, default_timeout_seconds=60.0)
    async with serving(tmp_path, config, loader(FakeCrossEncoder(before_score=gate))) as served:
        under_way = served.rerank.Rerank(REQUEST)
        await gate.reached.wait()
        served.stop.set()
        with refused() as refusal:
            await under_way
        gate.opened.set()
        await asyncio.wait_for(served.task, 10)
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert refusal.reason == "DRAINING"
    assert refusal.retry_seconds is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains(tmp_path: Path, number: signal.Signals) -> None:
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(CONFIG, tmp_path, address.set_result, load=loader()))
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", await address)
    os.kill(os.getpid(), number)
    await asyncio.wait_for(task, 10)


async def test_a_stop_while_models_load_is_heeded_and_nothing_is_announced(tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    announced: list[str] = []
    await serve(CONFIG, tmp_path, announced.append, load=loader(), stop=stop)
    assert announced == []


async def test_a_stop_does_not_wait_for_the_loading_and_what_it_loads_is_closed(
    tmp_path: Path,
) -> None:
    stop, loading, closed = asyncio.Event(), threading.Event(), threading.Event()
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def load(config: Any, data_dir: Path) -> Loaded:
        loop.call_soon_threadsafe(begun.set)
        assert loading.wait(30)
        loaded = loader()(config, data_dir)
        loaded.resources.callback(closed.set)
        return loaded

    task = asyncio.create_task(serve(CONFIG, tmp_path, print, load=load, stop=stop))
    await begun.wait()
    stop.set()
    await asyncio.wait_for(task, 10)
    loading.set()
    assert await asyncio.to_thread(closed.wait, 10)


async def test_an_address_in_use_is_an_error(tmp_path: Path) -> None:
    async with serving(tmp_path / "one") as served:
        config = with_server(CONFIG, listen=served.address)
        with pytest.raises(ConfigurationError, match=f"{served.address} .* already in use"):
            await serve(config, tmp_path / "two", print, load=loader())


async def test_metrics_are_served_over_http_while_it_serves(tmp_path: Path) -> None:
    config = with_server(CONFIG, metrics_listen=f"127.0.0.1:{free_port()}")
    url = f"http://{config.server.metrics_listen}/metrics"
    async with serving(tmp_path, config) as served, aiohttp.ClientSession() as http:
        await served.rerank.Rerank(REQUEST)
        async with http.get(url) as reply:
            text = await reply.text()
    labels = 'code="OK",method="RerankService/Rerank"'
    assert re.search(rf"^sidecar_call_seconds_count\{{{labels}\}} [1-9]", text, re.M)
    assert re.search(r'^sidecar_calls_under_way\{method="RerankService/Rerank"\} 0\.0$', text, re.M)
    assert re.search(
        r'^sidecar_final_rankings_total\{degraded="false",stage="SECOND_RERANK"\} [1-9]', text, re.M
    )
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(url)


async def test_a_metrics_address_in_use_is_an_error(tmp_path: Path) -> None:
    async with serving(tmp_path / "one") as served:
        config = with_server(CONFIG, metrics_listen=served.address)
        with pytest.raises(ConfigurationError, match=r"in use; set server\.metrics_listen to"):
            await serve(config, tmp_path / "two", print, load=loader())


@pytest.mark.parametrize("listen", ["localhost", "127.0.0.1:", "127.0.0.1:99999", ":50051", "a:b"])
async def test_a_bad_address_is_an_error(tmp_path: Path, listen: str) -> None:
    with pytest.raises(ConfigurationError, match=r"server\.listen is .* give HOST:PORT"):
        await serve(with_server(CONFIG, listen=listen), tmp_path, print, load=loader())


async def test_a_model_that_cannot_be_loaded_stops_the_start(tmp_path: Path) -> None:
    config = with_server(CONFIG, listen=f"127.0.0.1:{free_port()}")

    def load(*_: Any) -> Loaded:
        raise ModelError("pair-minilm-l3: contract.json is missing")

    with pytest.raises(ModelError, match="missing"):
        await serve(config, tmp_path, print, load=load)
    async with serving(tmp_path, config) as served:
        assert served.address == config.server.listen


async def test_reflection_lists_every_service(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        replies = [reply async for reply in stub.ServerReflectionInfo(iter([request]))]
    names = {service.name for service in replies[0].list_services_response.service}
    assert names == {
        *SERVICES,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
