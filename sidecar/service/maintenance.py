"""MaintenanceService: check, work in a thread, tell how far it is, reply.

Work that nobody waits for any more ends at the next thing it tells, and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

from sidecar.errors import CallerLeftError, StorageError
from sidecar.service.calls import Context, Threads
from sidecar.service.messages.checks import check_collection
from sidecar.service.messages.maintenance import (
    check_backup,
    from_backup,
    from_findings,
    from_restored,
)
from sidecar.service.messages.migration import from_migrated, to_migration
from sidecar.service.parts import PartsOnceLoaded
from sidecar.storage.backup import Backups
from sidecar.storage.progress import Progress
from sidecar.v1 import maintenance_pb2, maintenance_pb2_grpc

# Of one step, no more is told within this time.
TELL_SECONDS = 0.2
T = TypeVar("T")


class MaintenanceService(maintenance_pb2_grpc.MaintenanceServiceServicer):
    """Upkeep of collections while they serve."""

    def __init__(self, parts: PartsOnceLoaded, backups: Backups, threads: Threads) -> None:
        self._parts = parts
        self._backups = backups
        self._threads = threads

    async def VerifyCollection(
        self, request: maintenance_pb2.VerifyCollectionRequest, context: Context
    ) -> AsyncIterator[maintenance_pb2.VerifyCollectionResponse]:
        """Compares what a collection keeps with its documents."""
        check_collection("collection", request.collection)
        collection = self._parts.get().catalog.get(request.collection)

        def verify(progress: Progress) -> maintenance_pb2.Findings:
            return from_findings(collection.stats(), collection.verify(progress))

        async with contextlib.aclosing(self._told(verify)) as tellings:
            async for told in tellings:
                if isinstance(told, maintenance_pb2.Progress):
                    yield maintenance_pb2.VerifyCollectionResponse(progress=told)
                else:
                    yield maintenance_pb2.VerifyCollectionResponse(findings=told)

    async def BackupCollection(
        self, request: maintenance_pb2.BackupCollectionRequest, context: Context
    ) -> AsyncIterator[maintenance_pb2.BackupCollectionResponse]:
        """Copies a collection."""
        check_collection("collection", request.collection)
        name, catalog = request.collection, self._parts.get().catalog
        catalog.get(name)  # refused before it waits for its turn

        def copy(folder: Path, progress: Progress) -> None:
            collection = catalog.get(name)  # the one that has the name when its turn comes
            collection.back_up(folder, progress)
            if catalog.get(name) is not collection:
                raise StorageError(
                    f"{name} was dropped or moved while it was copied: back it up again"
                )

        def make(progress: Progress) -> maintenance_pb2.Backup:
            return from_backup(self._backups.make(name, copy, progress))

        async with contextlib.aclosing(self._told(make)) as tellings:
            async for told in tellings:
                if isinstance(told, maintenance_pb2.Progress):
                    yield maintenance_pb2.BackupCollectionResponse(progress=told)
                else:
                    yield maintenance_pb2.BackupCollectionResponse(backup=told)

    async def RestoreCollection(
        self, request: maintenance_pb2.RestoreCollectionRequest, context: Context
    ) -> AsyncIterator[maintenance_pb2.RestoreCollectionResponse]:
        """Makes a collection of a backup."""
        check_backup("backup", request.backup)
        catalog = self._parts.get().catalog

        def restore(progress: Progress) -> maintenance_pb2.RestoredCollection:
            backup = self._backups.path(request.backup)
            return from_restored(catalog.restore(backup, request.collection, progress))

        async with contextlib.aclosing(self._told(restore)) as tellings:
            async for told in tellings:
                if isinstance(told, maintenance_pb2.Progress):
                    yield maintenance_pb2.RestoreCollectionResponse(progress=told)
                else:
                    yield maintenance_pb2.RestoreCollectionResponse(restored=told)

    async def MigrateCollection(
        self, request: maintenance_pb2.MigrateCollectionRequest, context: Context
    ) -> AsyncIterator[maintenance_pb2.MigrateCollectionResponse]:
        """Moves a collection to a backend, or back."""
        migration = to_migration(request)
        catalog = self._parts.get().catalog

        def migrate(progress: Progress) -> maintenance_pb2.MigratedCollection:
            with catalog.moving(request.collection) as moving:
                return from_migrated(migration(moving, progress))

        async with contextlib.aclosing(self._told(migrate)) as tellings:
            async for told in tellings:
                if isinstance(told, maintenance_pb2.Progress):
                    yield maintenance_pb2.MigrateCollectionResponse(progress=told)
                else:
                    yield maintenance_pb2.MigrateCollectionResponse(migrated=told)

    async def ListBackups(
        self, request: maintenance_pb2.ListBackupsRequest, context: Context
    ) -> maintenance_pb2.ListBackupsResponse:
        """Lists backups."""
        found = await self._threads.run(self._backups.list, request.collection)
        return maintenance_pb2.ListBackupsResponse(backups=map(from_backup, found))

    async def _told(
        self, work: Callable[[Progress], T]
    ) -> AsyncGenerator[maintenance_pb2.Progress | T]:
        """What the work tells, then once what it returns."""
        teller = _Teller()
        working = asyncio.ensure_future(self._threads.run(work, teller.tell))
        try:
            while not working.done():
                if (progress := await teller.next(working)) is not None:
                    yield progress
            yield working.result()
        finally:
            teller.leave()
            working.cancel()


class _Teller:
    """Brings the latest progress from a working thread to the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._latest: maintenance_pb2.Progress | None = None
        self._step, self._told = "", 0.0
        self._has_left = False

    def tell(self, step: str, done: int, total: int) -> None:
        """In the thread. Raises CallerLeftError once nobody listens."""
        if self._has_left:
            raise CallerLeftError("the caller left")
        if step != self._step or time.monotonic() >= self._told + TELL_SECONDS:
            self._step, self._told = step, time.monotonic()
            self._latest = maintenance_pb2.Progress(step=step, done=done, total=total)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._news.set)

    def leave(self) -> None:
        """Nobody listens any more."""
        self._has_left = True

    async def next(self, working: asyncio.Future[Any]) -> maintenance_pb2.Progress | None:
        """The latest progress once there is some, or the work is done."""
        news = asyncio.ensure_future(self._news.wait())
        either: set[asyncio.Future[Any]] = {news, working}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        self._news.clear()
        latest, self._latest = self._latest, None
        return latest
