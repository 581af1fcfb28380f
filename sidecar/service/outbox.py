"""The frames of a session that wait to be written, in order, bounded and conflated.

A ranking that waits is replaced by a newer one of the same request, since each ranking replaces
the one before: a client that reads slowly gets fewer of them, and the final one always.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sidecar.v1 import rerank_pb2

Frame = rerank_pb2.RerankSessionResponse


@dataclass(frozen=True, slots=True)
class Waiting:
    """A frame, and whether it is the last of its request."""

    frame: Frame
    last: bool


class Outbox:
    """Frames on their way to the client. `on_last` is called with the id of a request just before
    its last frame is written: from then on the client may use the id again."""

    def __init__(self, capacity: int, on_last: Callable[[str], None]) -> None:
        self._capacity = capacity
        self._on_last = on_last
        self._waiting: OrderedDict[object, Waiting] = OrderedDict()
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False

    def put(self, frame: Frame, last: bool = False) -> None:
        """Adds a frame; a ranking takes the place of one of the same request that still waits."""
        key: object = frame.request_id if frame.HasField("ranking") else object()
        self._waiting[key] = Waiting(frame, last)
        self._update()

    def discard(self, request_id: str) -> None:
        """Forgets the frames of a request whose answer is no longer wanted."""
        self._waiting = OrderedDict(
            (key, waiting)
            for key, waiting in self._waiting.items()
            if waiting.frame.request_id != request_id
        )
        self._update()

    def close(self) -> None:
        """Lets `write_to` return once all frames are written."""
        self._closed = True
        self._filled.set()

    async def wait_room(self) -> None:
        """Returns once fewer frames wait than the capacity."""
        await self._room.wait()

    async def write_to(self, write: Callable[[Frame], Awaitable[None]]) -> None:
        """Writes frames as they come until the outbox is closed."""
        while self._waiting or not self._closed:
            await self._filled.wait()
            if not self._waiting:  # closed, or discarded since
                continue
            _, waiting = self._waiting.popitem(last=False)
            self._update()
            if waiting.last:
                self._on_last(waiting.frame.request_id)
            await write(waiting.frame)

    def _update(self) -> None:
        _set(self._filled, bool(self._waiting) or self._closed)
        _set(self._room, len(self._waiting) < self._capacity)


def _set(event: asyncio.Event, state: bool) -> None:
    if state:
        event.set()
    else:
        event.clear()
