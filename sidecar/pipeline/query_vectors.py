"""Vectors of queries, kept by the revision of the bi-encoder: a query asked twice is encoded once.

Called from worker threads. Equal queries at the same time are encoded once as well.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future

import numpy as np
import numpy.typing as npt

from sidecar.bounded_cache import BoundedCache
from sidecar.metrics import CACHE_BYTES, CACHE_HITS, CACHE_MISSES
from sidecar.models.base import BiEncoder

Vector = npt.NDArray[np.float32]
_Key = tuple[str, str]  # revision, text
_HITS, _MISSES = CACHE_HITS.labels("vectors"), CACHE_MISSES.labels("vectors")
_BYTES = CACHE_BYTES.labels("vectors")
_KEY_BYTES = 200  # what a key and its place in the cache take besides the text


class QueryVectors:
    """The query side of a bi-encoder, with a cache of at most `max_bytes`; 0 for none."""

    def __init__(self, bi_encoder: BiEncoder, max_bytes: int) -> None:
        self._bi_encoder = bi_encoder
        self._cache: BoundedCache[_Key, Vector] = BoundedCache(max_bytes)
        self._under_way: dict[_Key, Future[Vector]] = {}
        self._lock = threading.Lock()

    def vector_of(self, text: str, use_cache: bool = True) -> Vector:
        """The normalised vector (dimensions,) of a query. Raises ModelError."""
        if not use_cache:
            return self._encoded(text)
        key = (self._bi_encoder.contract.revision, text)
        with self._lock:
            kept = self._cache.get(key)
            (_MISSES if kept is None else _HITS).inc()
            if kept is not None:
                return kept
            under_way = self._under_way.get(key)
            mine = self._under_way[key] = Future() if under_way is None else under_way
        if under_way is not None:
            return under_way.result()
        return self._encode_for_all(key, mine)

    def _encode_for_all(self, key: _Key, waiting: Future[Vector]) -> Vector:
        try:
            vector = self._encoded(key[1])
        except BaseException as error:
            waiting.set_exception(error)
            raise
        else:
            waiting.set_result(vector)
            with self._lock:
                self._cache.put(key, vector, vector.nbytes + len(key[1]) + _KEY_BYTES)
                _BYTES.set(self._cache.bytes)
            return vector
        finally:
            with self._lock:
                del self._under_way[key]

    def _encoded(self, text: str) -> Vector:
        vector: Vector = self._bi_encoder.encode_queries([text])[0].copy()
        vector.flags.writeable = False
        return vector
