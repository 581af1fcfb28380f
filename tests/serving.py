"""A sidecar with fake models, served over real gRPC within the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from fakes import FakeBiEncoder, FakeCrossEncoder
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from sidecar.config import Config, FeedbackConfig, RerankerConfig, ServerConfig
from sidecar.pipeline.assembly import Workshop
from sidecar.pipeline.feedback import open_feedback
from sidecar.pipeline.serving import Serving
from sidecar.pipeline.variant import PRODUCTION, ModelSet, Origin, Shared
from sidecar.recall.catalog import Catalog
from sidecar.server import Load, Loaded, serve
from sidecar.service.parts import build_parts
from sidecar.v1 import (
    collection_pb2_grpc,
    document_pb2_grpc,
    feedback_pb2_grpc,
    maintenance_pb2_grpc,
    rerank_pb2_grpc,
    search_pb2_grpc,
)

CONFIG = Config(
    server=ServerConfig(listen="127.0.0.1:0", drain_seconds=5.0, session_queue_requests=4),
    first_reranker=RerankerConfig(model="fake", depth=20),
    second_reranker=RerankerConfig(model="fake", depth=5),
    feedback=FeedbackConfig(enabled=False),
)
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def with_server(config: Config, **changes: Any) -> Config:
    """The configuration with other server keys."""
    return dataclasses.replace(config, server=dataclasses.replace(config.server, **changes))


def loader(
    first: FakeCrossEncoder | None = None,
    second: FakeCrossEncoder | None = None,
    encoder: FakeBiEncoder | None = None,
) -> Load:
    """What `serve` loads instead of real models: real recall, fakes for every model."""

    def load(config: Config, data_dir: Path) -> Loaded:
        bi_encoder, resources = encoder or FakeBiEncoder(), contextlib.ExitStack()
        small, large = first or FakeCrossEncoder(), second or FakeCrossEncoder()
        # Of another revision: else what one has scored the other would find in the cache.
        large.contract = dataclasses.replace(large.contract, revision="fake-2")
        workshop = Workshop(config, data_dir)
        models = ModelSet(
            Shared(bi_encoder, Origin(), lambda _: None),
            workshop.reranker_of("first_reranker", small),
            workshop.reranker_of("second_reranker", large),
        )
        serving = Serving(workshop.variant(PRODUCTION, models))
        resources.callback(serving.close)
        catalog = Catalog.open(data_dir, bi_encoder, config)
        resources.callback(catalog.close)
        feedback, close_feedback = open_feedback(config.feedback, data_dir)
        resources.callback(close_feedback)
        parts = build_parts(workshop, serving, catalog, feedback, config)
        return Loaded(parts, resources)

    return load


@dataclass
class Served:
    """A running sidecar: a channel to it, the event that stops it, and its task."""

    channel: grpc.aio.Channel
    address: str
    stop: asyncio.Event
    task: asyncio.Task[None]

    @property
    def search(self) -> Any:
        """A stub of SearchService."""
        return search_pb2_grpc.SearchServiceStub(self.channel)

    @property
    def rerank(self) -> Any:
        """A stub of RerankService."""
        return rerank_pb2_grpc.RerankServiceStub(self.channel)

    @property
    def documents(self) -> Any:
        """A stub of DocumentService."""
        return document_pb2_grpc.DocumentServiceStub(self.channel)

    @property
    def feedback(self) -> Any:
        """A stub of FeedbackService."""
        return feedback_pb2_grpc.FeedbackServiceStub(self.channel)

    @property
    def maintenance(self) -> Any:
        """A stub of MaintenanceService."""
        return maintenance_pb2_grpc.MaintenanceServiceStub(self.channel)

    @property
    def collections(self) -> Any:
        """A stub of CollectionService."""
        return collection_pb2_grpc.CollectionServiceStub(self.channel)


@contextlib.asynccontextmanager
async def serving(
    data_dir: Path, config: Config = CONFIG, load: Load | None = None
) -> AsyncIterator[Served]:
    """A sidecar that serves; it is drained at the end."""
    stop = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(config, data_dir, address.set_result, load=load or loader(), stop=stop)
    )
    await asyncio.wait({task, address}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        async with grpc.aio.insecure_channel(address.result(), UNLIMITED) as channel:
            yield Served(channel, address.result(), stop, task)
            stop.set()
            await task
    finally:
        stop.set()
        await task


class Gate:
    """Holds a fake model in its worker thread, and says on the loop when it got there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.reached = asyncio.Event()
        self.opened = threading.Event()

    def __call__(self, _: object) -> None:
        self._loop.call_soon_threadsafe(self.reached.set)
        assert self.opened.wait(30)


@dataclass
class Refusal:
    """A call's error as a client sees it; `field` and `retry_seconds` are None where not sent."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    field: str | None
    retry_seconds: float | None


def to_refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """The details of an error, which must have exactly one ErrorInfo of this domain."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error!r}"
    return from_details(error.code(), status.message, status.details)


def from_details(code: grpc.StatusCode, message: str, details: Any) -> Refusal:
    """The same of a status or of an in-band failure."""
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    infos = fields = retries = 0
    for detail in details:
        infos += detail.Unpack(info)
        fields += detail.Unpack(request)
        retries += detail.Unpack(retry)
    assert infos == 1
    assert info.domain == "sidecar"
    return Refusal(
        code,
        message,
        info.reason,
        dict(info.metadata),
        request.field_violations[0].field if fields else None,
        retry.retry_delay.ToTimedelta().total_seconds() if retries else None,
    )


@dataclass
class Caught:
    """Filled in by `refused`."""

    refusal: Refusal | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.refusal, name)


@contextlib.contextmanager
def refused() -> Iterator[Caught]:
    """The refusal that the call inside must end with."""
    caught = Caught()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        yield caught
    caught.refusal = to_refusal(error.value)
