"""Until writes are searchable, off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator

from sidecar.errors import NotSearchableYetError, SequenceUnknownError, StorageError
from sidecar.pipeline.deadline import Deadline
from sidecar.recall.collection import Collection
from sidecar.service.calls import Threads
from sidecar.types import Ranking

# A caller that left keeps its thread for no longer.
WAIT_SECONDS = 1.0


async def wait_searchable(
    threads: Threads, collection: Collection, sequence: int, deadline: Deadline
) -> bool:
    """Whether all writes up to a sequence number are searchable, after waiting for it.

    Raises StorageError if the collection was dropped or closed meanwhile.
    """
    loop = asyncio.get_running_loop()
    while (left := deadline.remaining()) > 0.0:
        seconds, started = min(WAIT_SECONDS, left), loop.time()
        try:
            # All threads may be taken.
            async with asyncio.timeout(seconds if seconds == left else None):
                if await threads.run(collection.wait_searchable, sequence, seconds):
                    return True
        except TimeoutError:
            continue
        if loop.time() - started < seconds / 2:
            raise StorageError(f"{collection.name} was dropped: the write is not searchable")
    return False


async def searched_from(
    min_sequence: int,
    rankings: AsyncGenerator[Ranking],
    collection: Collection,
    threads: Threads,
    until: Deadline,
) -> AsyncGenerator[Ranking]:
    """The rankings of a search that begins once every write up to `min_sequence` is searchable.

    Raises SequenceUnknownError, NotSearchableYetError, StorageError, and what the search raises.
    """
    async with contextlib.aclosing(rankings):
        await _wait_for(min_sequence, collection, threads, until)
        searchable = collection.searchable_sequence
        async for ranking in rankings:
            yield dataclasses.replace(ranking, searchable_sequence=searchable)


async def _wait_for(
    sequence: int, collection: Collection, threads: Threads, until: Deadline
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
    if not await wait_searchable(threads, collection, sequence, until):
        raise NotSearchableYetError(
            f"writes are searchable up to {collection.searchable_sequence}, not to min_sequence "
            f"({sequence}), which is durable: allow more time, or send it again"
        )
