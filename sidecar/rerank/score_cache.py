"""Scores of pairs that were computed before, by a key of everything that makes a score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from sidecar.bounded_cache import BoundedCache
from sidecar.metrics import CACHE_BYTES, CACHE_HITS, CACHE_MISSES

_SCORE_BYTES = 49 + 56 + 24 + 28  # key, score, float, int


@dataclass(frozen=True, slots=True)
class CachedScore:
    """What a model once said of a pair: a hit needs no tokenizing."""

    logit: float
    token_count: int
    truncated: bool


class PairKeys:
    """Keys of one query's pairs: model, revision, template with truncation, query, passage.

    Each part goes in with its length, so no two lists of parts have the same key.
    """

    def __init__(self, model: str, revision: str, template_digest: str, query: str) -> None:
        self._start = blake2b(digest_size=16)
        for part in (model, revision, template_digest, query):
            text = part.encode("utf-8", "surrogatepass")
            self._start.update(b"%d:" % len(text) + text)

    def key(self, passage: str) -> bytes:
        """16 bytes."""
        digest = self._start.copy()
        digest.update(passage.encode("utf-8", "surrogatepass"))
        return digest.digest()


class ScoreCache:
    """Scores by pair key, bounded in bytes; all models of a process share one."""

    def __init__(self, max_bytes: int) -> None:
        self._entries: BoundedCache[bytes, CachedScore] = BoundedCache(max_bytes)
        self._hits = CACHE_HITS.labels("scores")
        self._misses = CACHE_MISSES.labels("scores")
        self._bytes = CACHE_BYTES.labels("scores")

    def get_all(self, keys: Sequence[bytes]) -> list[CachedScore | None]:
        """What is known under each key."""
        known = [self._entries.get(key) for key in keys]
        missing = known.count(None)
        self._hits.inc(len(keys) - missing)
        self._misses.inc(missing)
        return known

    def put_all(self, scores: Iterable[tuple[bytes, CachedScore]]) -> None:
        """Keeps scores."""
        for key, score in scores:
            self._entries.put(key, score, _SCORE_BYTES)
        self._bytes.set(self._entries.bytes)
