"""Token ids of texts read before, for every model whose tokenizer is the same."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.bounded_cache import BoundedCache
from sidecar.metrics import CACHE_BYTES, CACHE_HITS, CACHE_MISSES

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Reading:
    """Token ids, without special ones, of a text (`whole`) or of its start."""

    ids: Sequence[int]
    whole: bool


class TokenCache:
    """Readings by tokenizer and text, in at most `max_bytes`; 0 keeps none. Thread safe."""

    def __init__(self, max_bytes: int = 0) -> None:
        self._readings: BoundedCache[bytes, Reading] = BoundedCache(max_bytes)
        self._hits = CACHE_HITS.labels("tokens")
        self._misses = CACHE_MISSES.labels("tokens")
        self._bytes = CACHE_BYTES.labels("tokens")

    def key(self, tokenizer_digest: str, text: str) -> bytes:
        """Under which the reading of a text is kept."""
        salt = bytes.fromhex(tokenizer_digest)[:_DIGEST_BYTES]
        encoded = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES, key=salt).digest()

    @property
    def keeps(self) -> bool:
        """Whether anything is ever kept."""
        return self._readings.max_bytes > 0

    def get(self, key: bytes, at_least: int) -> Reading | None:
        """A reading of the whole text or of `at_least` tokens of it."""
        reading = self._readings.get(key)
        if reading is None or (not reading.whole and len(reading.ids) < at_least):
            self._misses.inc()
            return None
        self._hits.inc()
        return reading

    def put(self, key: bytes, reading: Reading) -> None:
        """Keeps a reading."""
        ids = array("i", reading.ids)
        self._readings.put(key, Reading(ids, reading.whole), len(key) + len(ids) * ids.itemsize)
        self._bytes.set(self._readings.bytes)
