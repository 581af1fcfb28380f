"""Passages that callers have sent with their digest, so that they can be sent by it alone."""

from __future__ import annotations

import hashlib
import sys

from sidecar.bounded_cache import BoundedCache
from sidecar.metrics import CACHE_BYTES, CACHE_HITS, CACHE_MISSES

DIGEST_BYTES = 32


def digest_of(passage: str) -> bytes:
    """SHA-256 of what a model reads of a candidate (`types.to_passage` of its title and text)."""
    return hashlib.sha256(passage.encode()).digest()


class Texts:
    """The passages, the least recently used dropped first, within `max_bytes` (0: none)."""

    def __init__(self, max_bytes: int) -> None:
        self._passages: BoundedCache[bytes, str] = BoundedCache(max_bytes)

    def keep(self, digest: bytes, passage: str) -> None:
        """Keeps a passage under its own digest."""
        self._passages.put(digest, passage, sys.getsizeof(digest) + sys.getsizeof(passage))
        CACHE_BYTES.labels("texts").set(self._passages.bytes)

    def find(self, digest: bytes) -> str | None:
        """The passage of a digest; None if it is not here (any more)."""
        if digest == _OF_NOTHING:
            return ""
        passage = self._passages.get(digest)
        (CACHE_MISSES if passage is None else CACHE_HITS).labels("texts").inc()
        return passage


_OF_NOTHING = digest_of("")
