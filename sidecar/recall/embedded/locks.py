"""A lock that many searches share and one change excludes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class SharedLock:
    """Any number of `shared` holders, or one `exclusive` one. A waiting exclusive goes first."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._sharing = 0
        self._waiting = 0
        self._excluded = False

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Held together with other `shared` blocks."""
        with self._condition:
            self._condition.wait_for(lambda: not self._excluded and self._waiting == 0)
            self._sharing += 1
        try:
            yield
        finally:
            with self._condition:
                self._sharing -= 1
                self._condition.notify_all()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Held alone."""
        with self._condition:
            self._waiting += 1
            self._condition.wait_for(lambda: not self._excluded and self._sharing == 0)
            self._waiting -= 1
            self._excluded = True
        try:
            yield
        finally:
            with self._condition:
                self._excluded = False
                self._condition.notify_all()
