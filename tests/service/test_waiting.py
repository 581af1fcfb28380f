"""Waits for writes to be searchable: what they take of the server, how long they are, who is told
when."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from sidecar.errors import StorageError
from sidecar.pipeline.deadline import Deadline
from sidecar.service.waiting import SearchableWaits

SECONDS = 30.0


class Stalled:
    """A collection whose writes become searchable when it is said so, as an embedded one's do."""

    name = "docs"

    def __init__(self) -> None:
        self.searchable_sequence = 0
        self.is_closed = False
        self.asked_at_once = 0
        self._asked = 0
        self._changed = threading.Condition()

    def reach(self, sequence: int) -> None:
        with self._changed:
            self.searchable_sequence = sequence
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    def wait_searchable(self, sequence: int, seconds: float) -> bool:
        with self._changed:
            self._asked += 1
            self.asked_at_once = max(self.asked_at_once, self._asked)
            self._changed.wait_for(
                lambda: self.searchable_sequence >= sequence or self.is_closed, seconds
            )
            self._asked -= 1
            return self.searchable_sequence >= sequence


def waiting(
    waits: SearchableWaits, collection: Any, sequence: int, seconds: float = SECONDS
) -> Any:
    return asyncio.ensure_future(waits.wait(collection, sequence, Deadline.after(seconds)))


async def test_however_many_wait_one_thread_is_taken():
    waits, collection = SearchableWaits(), Stalled()
    calls = [waiting(waits, collection, n % 7 + 1) for n in range(200)]
    done = waiting(waits, collection, 0)
    assert await done
    collection.reach(7)
    assert all(await asyncio.gather(*calls))
    assert collection.asked_at_once == 1


async def test_a_wait_is_never_longer_than_its_time():
    waits, collection = SearchableWaits(), Stalled()
    began = time.monotonic()
    calls = [waiting(waits, collection, 1, 1.3) for _ in range(80)]
    assert not any(await asyncio.gather(*calls))
    assert 1.3 <= time.monotonic() - began < 2.3
    assert await waits.wait(collection, 0, Deadline.after(SECONDS))  # of a watch of its own again


async def test_each_is_told_at_its_own_number():
    waits, collection = SearchableWaits(), Stalled()
    late, early = waiting(waits, collection, 9), waiting(waits, collection, 4)
    await asyncio.sleep(0)
    later_come = waiting(waits, collection, 2)
    collection.reach(2)
    assert await later_come
    assert not early.done()
    collection.reach(4)
    assert await early
    assert not late.done()
    late.cancel()
    collection.reach(9)


async def test_a_collection_that_closes_fails_all_who_wait():
    waits, collection = SearchableWaits(), Stalled()
    calls = [waiting(waits, collection, n + 1) for n in range(3)]
    await asyncio.sleep(0)
    collection.close()
    for call in calls:
        with pytest.raises(StorageError, match="was dropped"):
            await call


async def test_what_a_backend_says_counts_where_it_knows_no_numbers():
    class OfOthers(Stalled):
        def wait_searchable(self, sequence: int, seconds: float) -> bool:
            return True

    waits, collection = SearchableWaits(), OfOthers()
    assert await waits.wait(collection, 5, Deadline.after(SECONDS))  # type: ignore[arg-type]
