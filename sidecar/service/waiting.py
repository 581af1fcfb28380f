"""Until writes are searchable, off the event loop.

Whoever waits takes no thread: one watch of each collection that is waited for has one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Mapping

from sidecar.errors import NotSearchableYetError, SequenceUnknownError, StorageError
from sidecar.pipeline.deadline import Deadline
from sidecar.recall.collection import Collection
from sidecar.service.calls import Threads
from sidecar.types import Ranking

# A watch looks so often whether anybody still waits.
WAIT_SECONDS = 1.0


class SearchableWaits:
    """Those who wait for writes to be searchable, of all collections. For one event loop."""

    def __init__(self) -> None:
        self._watches: dict[int, _Watch] = {}

    async def wait(self, collection: Collection, sequence: int, deadline: Deadline) -> bool:
        """Whether all writes up to a sequence number are searchable, after waiting for it.

        Raises StorageError if the collection was dropped or closed meanwhile, and what its
        `wait_searchable` raises.
        """
        watch = self._watches.get(id(collection)) or self._start(collection)
        future = watch.add(sequence)
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining())):
                await future
        except TimeoutError:
            return False
        finally:
            watch.waiting.pop(future, None)
        return True

    def _start(self, collection: Collection) -> _Watch:
        watch = self._watches[id(collection)] = _Watch(collection)
        watch.task = asyncio.create_task(self._run(watch))
        return watch

    async def _run(self, watch: _Watch) -> None:
        try:
            while watch.waiting:
                await watch.turn()
        except Exception as error:
            for future in watch.left():
                future.set_exception(error)
        finally:
            del self._watches[id(watch.collection)]
            watch.close()


class _Watch:
    """Of one collection: in turns, until nobody waits."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.waiting: dict[asyncio.Future[None], int] = {}
        self.task: asyncio.Task[None] | None = None  # or it would be forgotten
        self._thread = Threads("searchable", 1)

    def add(self, sequence: int) -> asyncio.Future[None]:
        """What is done once a sequence number is searchable."""
        future = asyncio.get_running_loop().create_future()
        self.waiting[future] = sequence
        return future

    def left(self) -> list[asyncio.Future[None]]:
        """Those still waited for."""
        return [future for future in self.waiting if not future.done()]

    async def turn(self) -> None:
        """Waits for the next step, and tells those who have waited for it."""
        before, here = self.collection.searchable_sequence, dict(self.waiting)
        # Of any progress, for whoever comes meanwhile may wait for less than those here do.
        if not await self._wait(min(before + 1, *here.values())):
            return
        told = self._tell(self.waiting, self.collection.searchable_sequence)
        if told or self.collection.searchable_sequence > before:
            return
        # A backend may know that writes are searchable, and not their numbers: others' ones.
        if await self._wait(greatest := max(here.values())):
            self._tell(here, greatest)

    def close(self) -> None:
        """Ends its thread."""
        self._thread.close(wait=False)

    async def _wait(self, sequence: int) -> bool:
        loop = asyncio.get_running_loop()
        started = loop.time()
        wait = self.collection.wait_searchable
        if await self._thread.run(wait, sequence, WAIT_SECONDS):
            return True
        if loop.time() - started < WAIT_SECONDS / 2:
            name = self.collection.name
            raise StorageError(f"{name} was dropped: the write is not searchable")
        return False

    def _tell(self, waiting: Mapping[asyncio.Future[None], int], reached: int) -> bool:
        done = [one for one, sequence in waiting.items() if sequence <= reached and not one.done()]
        for future in done:
            future.set_result(None)
        return bool(done)


async def searched_from(
    min_sequence: int,
    rankings: AsyncGenerator[Ranking],
    collection: Collection,
    waits: SearchableWaits,
    until: Deadline,
) -> AsyncGenerator[Ranking]:
    """The rankings of a search that begins once every write up to `min_sequence` is searchable.

    Raises SequenceUnknownError, NotSearchableYetError, StorageError, and what the search raises.
    """
    async with contextlib.aclosing(rankings):
        await _wait_for(min_sequence, collection, waits, until)
        searchable = collection.searchable_sequence
        async for ranking in rankings:
            yield dataclasses.replace(ranking, searchable_sequence=searchable)


async def _wait_for(
    sequence: int, collection: Collection, waits: SearchableWaits, until: Deadline
) -> None:
    if sequence > collection.durable_sequence:
        raise SequenceUnknownError(
            f"min_sequence is {sequence}, {collection.name} has given numbers up to "
            f"{collection.durable_sequence}: take one that an acknowledgement of this collection "
            "had (it may have been restored from a backup since)",
            collection=collection.name,
        )
    if collection.searchable_sequence >= sequence:
        return
    if not await waits.wait(collection, sequence, until):
        raise NotSearchableYetError(
            f"writes are searchable up to {collection.searchable_sequence}, not to min_sequence "
            f"({sequence}), which is durable: allow more time, or send it again"
        )
