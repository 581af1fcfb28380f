"""What a search reads of its documents after recall, within the time that there is for it.

A read that is late or fails costs the answer what it was for, and no more: the order stands, and a
report says what it lacks. A read that nobody waits for any more goes on in its thread.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from sidecar.errors import BackendError, BackendUnavailableError, StorageError
from sidecar.types import StageReason

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lack:
    """Why something of the documents was not to be had: DEADLINE or INDEX_UNAVAILABLE."""

    reason: StageReason
    detail: str


class Reading(Generic[T]):
    """A read under way in a thread of `executor`; leaving the context gives it up."""

    def __init__(self, executor: Executor, what: str, call: Callable[[], T]) -> None:
        """`what` is read, in the plural."""
        self._what = what
        self._started = time.monotonic()
        self._read = asyncio.get_running_loop().run_in_executor(executor, call)

    async def within(self, seconds: float) -> T | Lack:
        """What was read, if it is there after so many seconds at most; may be asked again."""
        timeout = None if math.isinf(seconds) else max(seconds, 0.0)
        await asyncio.wait({self._read}, timeout=timeout)
        if not self._read.done():
            waited = (time.monotonic() - self._started) * 1000.0
            detail = f"the {self._what} were not read after {waited:.0f} ms"
            return Lack(StageReason.DEADLINE, detail)
        try:
            return self._read.result()
        except (StorageError, BackendError, BackendUnavailableError) as error:
            detail = f"the {self._what} could not be read: {error.message}"
            return Lack(StageReason.INDEX_UNAVAILABLE, detail)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._read.done() and not self._read.cancelled():
            self._read.exception()
        self._read.cancel()
