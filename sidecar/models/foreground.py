"""The requests that this process is answering: work that nobody waits for begins between them.

Priorities alone do not keep such work out of their way: a batch that has begun is computed to its
end, on all cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator

# That one step of a change of models waits for requests, which on a full machine never end.
PATIENCE_SECONDS = 0.5


class Foreground:
    """Thread safe."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._requests = 0
        self._quiet_since = -float("inf")
        self._waiting: list[Callable[[], object]] = []

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """While a request is answered."""
        with self._lock:
            self._requests += 1
        try:
            yield
        finally:
            self._leave()

    def was_quiet_for(self, seconds: float) -> bool:
        """Whether no request was being answered for so long."""
        with self._lock:
            return not self._requests and self._now() - self._quiet_since >= seconds

    def wait_quiet(self, seconds: float) -> bool:
        """Whether no request is being answered, after waiting at most so long. Blocks."""
        quiet = threading.Event()
        with self._told(quiet.set):
            return quiet.wait(seconds)

    async def quiet(self, seconds: float) -> bool:
        """The same for an event loop."""
        loop, quiet = asyncio.get_running_loop(), asyncio.Event()
        with self._told(functools.partial(loop.call_soon_threadsafe, quiet.set)):
            try:
                async with asyncio.timeout(seconds):
                    await quiet.wait()
            except TimeoutError:
                return False
        return True

    @contextlib.contextmanager
    def _told(self, tell: Callable[[], object]) -> Iterator[None]:
        """`tell` is called once no request is being answered, at once if there is none."""
        with self._lock:
            is_quiet = not self._requests
            if not is_quiet:
                self._waiting.append(tell)
        if is_quiet:
            tell()
        try:
            yield
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._waiting.remove(tell)

    def _leave(self) -> None:
        with self._lock:
            self._requests -= 1
            told: list[Callable[[], object]] = []
            if not self._requests:
                self._quiet_since = self._now()
                told, self._waiting = self._waiting, []
        for tell in told:
            tell()


@functools.cache
def foreground() -> Foreground:
    """That of this process: its requests and all else share the cores."""
    return Foreground()
