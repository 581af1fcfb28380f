"""Fakes that several test folders share: deterministic, without files, without a runtime."""

from __future__ import annotations

import dataclasses
import threading
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from sidecar.models.base import Pair, Scores, Vectors
from sidecar.models.contract import ModelContract

CROSS_ENCODER_CONTRACT = ModelContract(
    name="fake-overlap", kind="cross-encoder", revision="fake-1", languages=("en",), weight=0.5
)
BI_ENCODER_CONTRACT = ModelContract(
    name="fake-words", kind="bi-encoder", revision="fake-1", languages=("en",), dimensions=64
)
_START, _BREAK, _END = 1, 2, 3


class FakeCrossEncoder:
    """Scores a pair by the share of the query's words that the passage holds, 0 to 1.

    Passages with a word of `nan_words` score NaN; a batch with a word of `raise_words` raises.
    `before_score` is called in the worker thread with each batch: block or count there.
    `batches` records the number of pairs of each call of `score` that was begun.
    """

    def __init__(
        self,
        contract: ModelContract = CROSS_ENCODER_CONTRACT,
        nan_words: Sequence[str] = (),
        raise_words: Sequence[str] = (),
        before_score: Callable[[Sequence[Pair]], None] | None = None,
        concurrency: int = 1,
    ) -> None:
        self.contract = contract
        self.concurrency = concurrency
        self.batches: list[int] = []
        self._nan = {_word_id(word) for word in nan_words}
        self._raise = {_word_id(word) for word in raise_words}
        self._before_score = before_score
        self._lock = threading.Lock()

    def tokenize(
        self, query: str, passages: Sequence[str], max_query_tokens: int, max_passage_tokens: int
    ) -> list[Pair]:
        """Word hashes: start, query, break, passage, end."""
        query_ids = _word_ids(query)
        pairs = []
        for passage in passages:
            passage_ids = _word_ids(passage)
            pairs.append(_to_pair(query_ids, passage_ids, max_query_tokens, max_passage_tokens))
        return pairs

    def score(self, pairs: Sequence[Pair]) -> Scores:
        """Overlap of each pair."""
        with self._lock:
            self.batches.append(len(pairs))
        if self._before_score is not None:
            self._before_score(pairs)
        return np.array([self._overlap(pair) for pair in pairs], dtype=np.float32)

    def _overlap(self, pair: Pair) -> float:
        at = pair.input_ids.index(_BREAK)
        query, passage = set(pair.input_ids[1:at]), set(pair.input_ids[at + 1 : -1])
        if passage & self._raise:
            raise RuntimeError("the fake runtime failed on a pair")
        if passage & self._nan:
            return float("nan")
        return len(query & passage) / max(1, len(query))


class FakeBiEncoder:
    """Bags of hashed words as unit vectors of 64 dimensions: cosine grows with shared words."""

    def __init__(self, contract: ModelContract = BI_ENCODER_CONTRACT) -> None:
        self.contract = dataclasses.replace(contract, dimensions=contract.dimensions or 64)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries."""
        return self.encode_passages(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages."""
        vectors = np.zeros((len(texts), self.contract.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in _word_ids(text) or [_word_id("")]:
                vectors[row, word % self.contract.dimensions] += 1.0
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)


def _word_id(word: str) -> int:
    return 4 + zlib.crc32(word.lower().encode()) % 1_000_003


def _word_ids(text: str) -> list[int]:
    return [_word_id(word) for word in text.split()]


def _to_pair(query: list[int], passage: list[int], max_query: int, max_passage: int) -> Pair:
    kept_query, kept_passage = query[:max_query], passage[:max_passage]
    input_ids = (_START, *kept_query, _BREAK, *kept_passage, _END)
    return Pair(
        input_ids=input_ids,
        token_type_ids=(0,) * (len(kept_query) + 2) + (1,) * (len(kept_passage) + 1),
        token_count=len(query) + len(passage) + 3,
        truncated=len(kept_query) + len(kept_passage) < len(query) + len(passage),
    )
