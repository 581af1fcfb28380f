"""Where the writes of a collection pass that another server keeps: side by side, but not while they
are held, and elsewhere once the collection has moved."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from sidecar.recall.collection import Collection


class WriteGate:
    """Of one collection; thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way = 0
        self._is_held = False
        self._successor: Collection | None = None

    @contextlib.contextmanager
    def passing(self) -> Iterator[Collection | None]:
        """For one write, which waits while they are held; the collection that has to be written to
        instead, if there is one."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_held)
            successor = self._successor
            self._under_way += successor is None
        try:
            yield successor
        finally:
            if successor is None:
                with self._changed:
                    self._under_way -= 1
                    self._changed.notify_all()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While writes wait; what was under way is finished before."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_held)
            self._is_held = True
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._under_way == 0)
            yield
        finally:
            with self._changed:
                self._is_held = False
                self._changed.notify_all()

    def hand_over(self, successor: Collection) -> None:
        """Writes that wait, and that come yet, go to another collection. Within `held`."""
        self._successor = successor
