"""Composes the parts and runs them: startup, serve, drain.

startup  bind -> serve health (NOT_SERVING) and reflection -> load models, open the collections
serve    all services SERVING, `ready` is told the address
drain    NOT_SERVING -> notice -> refuse what is new -> finish what is under way -> close
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import logging
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sidecar.config import Config
from sidecar.errors import ConfigurationError
from sidecar.pipeline.assembly import assemble
from sidecar.pipeline.feedback import FOLDER_NAME, open_feedback
from sidecar.recall.catalog import Catalog
from sidecar.service.calls import Threads
from sidecar.service.collections import CollectionService
from sidecar.service.deadlines import Deadlines
from sidecar.service.documents import DocumentService
from sidecar.service.edge import Edge
from sidecar.service.feedback import FeedbackService
from sidecar.service.health import HealthService
from sidecar.service.listening import to_address
from sidecar.service.loop_lag import LoopLag
from sidecar.service.maintenance import MaintenanceService
from sidecar.service.metrics_endpoint import serving_metrics
from sidecar.service.models import ModelService
from sidecar.service.parts import Parts, PartsOnceLoaded, build_parts
from sidecar.service.rerank import RerankService
from sidecar.service.search import SearchService
from sidecar.storage.backup import Backups
from sidecar.storage.feedback.secret import read_secret
from sidecar.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    document_pb2,
    document_pb2_grpc,
    feedback_pb2,
    feedback_pb2_grpc,
    maintenance_pb2,
    maintenance_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    rerank_pb2,
    rerank_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
)

SERVICES = (
    search_pb2.DESCRIPTOR.services_by_name["SearchService"].full_name,
    rerank_pb2.DESCRIPTOR.services_by_name["RerankService"].full_name,
    document_pb2.DESCRIPTOR.services_by_name["DocumentService"].full_name,
    collection_pb2.DESCRIPTOR.services_by_name["CollectionService"].full_name,
    feedback_pb2.DESCRIPTOR.services_by_name["FeedbackService"].full_name,
    model_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
    maintenance_pb2.DESCRIPTOR.services_by_name["MaintenanceService"].full_name,
)
LOOKUP_THREADS = 8
# Many: an upsert that is to be acknowledged when searchable holds one while it waits.
DOCUMENT_THREADS = 32
# Each for as long as a backup, a restore or a check takes.
MAINTENANCE_THREADS = 8
# What was exchanged gets this long to be freed at the end.
TIDY_SECONDS = 5.0
# For the last replies to leave, after their handlers have returned.
FLUSH_SECONDS = 1.0
CLIENT_KEEPALIVE_MILLISECONDS = 10_000
LOADING_THREAD = "loading"

_logger = logging.getLogger(__name__)


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Loaded:
    """The parts, what has to be closed after them, last opened first, and what is to be awaited on
    the event loop before the first call."""

    parts: Parts
    resources: contextlib.ExitStack
    warm_up: Callable[[], Awaitable[None]] = _nothing


Load = Callable[[Config, Path], Loaded]


def load_parts(config: Config, data_dir: Path) -> Loaded:
    """Loads the models, then opens the collections. Raises ModelError, StorageError."""
    with contextlib.ExitStack() as resources:
        feedback, close_feedback = open_feedback(config.feedback, data_dir)
        resources.callback(close_feedback)
        assembled = assemble(config, data_dir, resources)
        late = resources.enter_context(contextlib.ExitStack())  # what the catalog uses to its end
        catalog = Catalog.open(data_dir, assembled.bi_encoder, config)
        resources.callback(catalog.close)
        secret = read_secret(data_dir / FOLDER_NAME, config.feedback.secret)
        parts = build_parts(
            assembled.workshop, assembled.serving, catalog, feedback, config, secret
        )
        late.callback(parts.changes.close)
        _exempt_from_collection()
        sys.setswitchinterval(SWITCH_SECONDS)
        return Loaded(parts, resources.pop_all(), assembled.serving.warm_up)


# Threads that tokenize hand the interpreter over to the event loop this soon (5 ms by default).
SWITCH_SECONDS = 0.001


def _exempt_from_collection() -> None:
    """Takes all that is loaded out of garbage collection, which would hold every call up for some
    60 ms each time that it went through it (measured with the carried models)."""
    gc.collect()
    gc.freeze()


async def serve(
    config: Config,
    data_dir: Path,
    ready: Callable[[str], None],
    *,
    load: Load = load_parts,
    stop: asyncio.Event | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT (or until `stop`, if given), then drains and returns.

    `ready` is called with HOST:PORT once all services serve. Raises ConfigurationError if the
    address cannot be served on, ModelError and StorageError if a part cannot be loaded.
    """
    with _stop_on_signals() if stop is None else contextlib.nullcontext(stop) as stopping:
        server = Server(config)
        try:
            address = await server.start()
            loaded = await _loaded_unless(stopping, lambda: load(config, data_dir))
            if loaded is None:
                return
            await server.open(loaded)
            if not stopping.is_set():
                ready(address)
            await stopping.wait()
            await server.drain()
        finally:
            await server.close()


async def _loaded_unless(stopping: asyncio.Event, load: Callable[[], Loaded]) -> Loaded | None:
    """What `load` gives in a thread; None if `stopping` comes first. The thread, which may be
    measuring a model, is then left behind, and closes what it has loaded."""
    found: concurrent.futures.Future[Loaded] = concurrent.futures.Future()

    def run() -> None:
        try:
            loaded = load()
        except BaseException as error:
            if found.set_running_or_notify_cancel():
                found.set_exception(error)
            return
        if found.set_running_or_notify_cancel():
            found.set_result(loaded)
        else:
            loaded.resources.close()

    threading.Thread(target=run, name=LOADING_THREAD, daemon=True).start()
    waiting, stopped = asyncio.wrap_future(found), asyncio.create_task(stopping.wait())
    either: set[asyncio.Future[Any]] = {waiting, stopped}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not waiting.done() and found.cancel():
        _logger.info("stopped while loading")
        return None
    return await waiting


class Server:
    """One gRPC server with its services."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._edge = Edge(config.server.max_calls)
        self._health = HealthService(SERVICES)
        self._parts = PartsOnceLoaded()
        self._lookups = Threads("lookups", LOOKUP_THREADS)
        self._documents = Threads("documents", DOCUMENT_THREADS)
        self._maintenance = Threads("maintenance", MAINTENANCE_THREADS)
        self._resources = contextlib.ExitStack()
        self._metrics = contextlib.ExitStack()
        self._lag = LoopLag()
        self._watches: list[asyncio.Task[None]] = []
        self._grpc = grpc.aio.server(
            interceptors=[self._edge], options=_options(config.server.max_message_bytes)
        )

    async def start(self) -> str:
        """Binds the address and serves; until `open` all calls but health's are refused."""
        address = _bind(self._grpc, self._config.server.listen)
        self._metrics.enter_context(serving_metrics(self._config.server.metrics_listen))
        self._register()
        self._watches.append(asyncio.create_task(self._lag.watch()))
        await self._grpc.start()
        return address

    async def open(self, loaded: Loaded) -> None:
        """Measures the models' pace, then says SERVING."""
        self._resources.enter_context(loaded.resources)
        await loaded.warm_up()
        self._parts.set(loaded.parts)
        self._watches.append(asyncio.create_task(loaded.parts.watch.run()))
        self._health.set_all(serving=True)

    async def drain(self) -> None:
        """NOT_SERVING, notice, refuse what is new, let what is under way finish in its time."""
        server = self._config.server
        _logger.info("draining")
        self._health.set_all(serving=False)
        await asyncio.sleep(server.drain_notice_seconds)
        self._edge.draining.set()
        try:
            async with asyncio.timeout(server.drain_seconds):
                await self._edge.wait_idle()
        except TimeoutError:
            _logger.warning("calls still under way after %s s are cut off", server.drain_seconds)
            self._edge.cut_off()

    async def close(self) -> None:
        """Ends what is left and closes the parts; the collections write their snapshots."""
        self._health.close()
        await self._grpc.stop(FLUSH_SECONDS)
        for watch in self._watches:
            watch.cancel()
        await self._parts.wait_tidied(TIDY_SECONDS)
        for threads in (self._lookups, self._documents, self._maintenance):
            await asyncio.to_thread(threads.close)
        await asyncio.to_thread(self._resources.close)
        await asyncio.to_thread(self._metrics.close)

    def _register(self) -> None:
        parts, server, config = self._parts, self._grpc, self._config.server
        draining = self._edge.draining
        deadlines = Deadlines(config, self._lag, self._edge.calls_under_way)
        search_pb2_grpc.add_SearchServiceServicer_to_server(
            SearchService(parts, self._config, deadlines, self._lookups), server
        )
        rerank_pb2_grpc.add_RerankServiceServicer_to_server(
            RerankService(parts, self._config, deadlines, draining), server
        )
        document_pb2_grpc.add_DocumentServiceServicer_to_server(
            DocumentService(parts, config, deadlines, self._documents, draining), server
        )
        collection_pb2_grpc.add_CollectionServiceServicer_to_server(
            CollectionService(parts, self._lookups), server
        )
        feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(
            FeedbackService(parts, self._config, draining), server
        )
        model_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(parts, draining), server)
        maintenance_pb2_grpc.add_MaintenanceServiceServicer_to_server(
            MaintenanceService(parts, Backups(self._config.backup.folder), self._maintenance),
            server,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)


def _options(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # With it, a second server on the same port would start and take half of the calls.
        ("grpc.so_reuseport", 0),
        # Without these two, clients that keep idle connections alive are sent away.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", CLIENT_KEEPALIVE_MILLISECONDS),
    ]


def _bind(server: grpc.aio.Server, listen: str) -> str:
    """Binds HOST:PORT and gives it back with the port that was taken."""
    host, _ = to_address("server.listen", listen, "127.0.0.1:50051")
    try:
        return f"{host}:{server.add_insecure_port(listen)}"
    except RuntimeError as error:
        raise ConfigurationError(f"{listen} cannot be served on: {error}") from error


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
