"""Values by key, the least recently used dropped first, bounded in bytes. It knows no models."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# What an entry takes besides what its user counts: dictionary slot, links, objects' heads.
ENTRY_BYTES = 200


class BoundedCache(Generic[K, V]):
    """At most `max_bytes` of entries; 0 keeps none. May be used from several threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value of a key, which is then the most recently used; None if there is none."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self.misses += 1
                return None
            self.hits += 1
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: K, value: V, value_bytes: int) -> None:
        """Keeps a value that takes `value_bytes`, key included; one above the bound is not kept."""
        size = value_bytes + ENTRY_BYTES
        with self._lock:
            self._drop(key)
            if size > self.max_bytes:
                return
            self._entries[key] = (value, size)
            self.bytes += size
            while self.bytes > self.max_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: K) -> None:
        _, size = self._entries.pop(key, (None, 0))
        self.bytes -= size
