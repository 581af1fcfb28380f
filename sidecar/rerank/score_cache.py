"""Scores of pairs that were computed before, by a key of everything that makes a score."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from sidecar.bounded_cache import BoundedCache

_ENTRY_BYTES = 49 + 72 + 24 + 28  # key, tuple, float, int


@dataclass(frozen=True, slots=True)
class CachedScore:
    """What a model once said of a pair: a hit needs no tokenizing."""

    logit: float
    token_count: int
    truncated: bool


class PairKeys:
    """Keys of one query's pairs: model revision, template, truncation, query, passage.

    Each part goes in with its length, so no two lists of parts have the same key.
    """

    def __init__(self, model_revision: str, template_digest: str, query: str) -> None:
        self._start = blake2b(digest_size=16)
        for part in (model_revision, template_digest, query):
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

    def get(self, key: bytes) -> CachedScore | None:
        """The score under a key, if it is known."""
        return self._entries.get(key)

    def put(self, key: bytes, score: CachedScore) -> None:
        """Keeps a score."""
        self._entries.put(key, score, _ENTRY_BYTES)
