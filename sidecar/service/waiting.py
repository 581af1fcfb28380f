"""Until writes are searchable, off the event loop."""

from __future__ import annotations

import asyncio

from sidecar.errors import StorageError
from sidecar.pipeline.deadline import Deadline
from sidecar.recall.collection import Collection
from sidecar.service.calls import Threads

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
