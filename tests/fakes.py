"""Fakes that several test folders share: deterministic, without files, without a runtime."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sidecar.errors import ModelError
from sidecar.models.base import Feed, Pair, ScorablePair, Scores, TokenizedPassage, Vectors
from sidecar.models.contract import ModelContract
from sidecar.types import LongPassages, Truncation

CROSS_ENCODER_CONTRACT = ModelContract(
    name="fake-overlap", kind="cross-encoder", revision="fake-1", languages=("en",), weight=0.5
)
BI_ENCODER_CONTRACT = ModelContract(
    name="fake-words", kind="bi-encoder", revision="fake-1", languages=("en",), dimensions=64
)
_START, _BREAK, _END = 1, 2, 3
_NUMBERS = itertools.count()  # no two fakes are one model, unless a test wants it


class FakeCrossEncoder:
    """Scores a pair by the share of the query's words that the passage holds, 0 to 1.

    Passages with a word of `nan_words` score NaN; a batch with a word of `raise_words` raises.
    `before_score` is called in a worker thread with each batch: block or count there.
    `batches` records the number of pairs of each call of `score` that was begun.
    """

    def __init__(
        self,
        contract: ModelContract = CROSS_ENCODER_CONTRACT,
        nan_words: Sequence[str] = (),
        raise_words: Sequence[str] = (),
        before_score: Callable[[Sequence[ScorablePair]], None] | None = None,
        concurrency: int = 1,
        batch_tokens: int = 1024,
        batch_invariant: bool = True,
        template_digest: str | None = None,
    ) -> None:
        self.contract = contract
        self.feed = Feed(side_by_side=concurrency, batch_tokens=batch_tokens)
        self.batch_invariant = batch_invariant
        self.template_digest = template_digest or f"fa6e{next(_NUMBERS):04x}"
        self.batches: list[int] = []
        self._nan = {_word_id(word) for word in nan_words}
        self._raise = {_word_id(word) for word in raise_words}
        self._before_score = before_score
        self._threads = ThreadPoolExecutor(concurrency, "fake-cross-encoder")

    def tokenize(
        self, query: str, passages: Sequence[str], truncation: Truncation
    ) -> list[TokenizedPassage]:
        """Word hashes: start, query, break, passage, end."""
        query_ids = _word_ids(query)
        return [_to_tokenized(query_ids, _word_ids(passage), truncation) for passage in passages]

    async def score(self, pairs: Sequence[ScorablePair]) -> Scores:
        """Overlap of each pair."""
        self.batches.append(len(pairs))
        if self._before_score is None:
            return self._overlaps(pairs)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._before_score, pairs)
        return self._overlaps(pairs)

    def _overlaps(self, pairs: Sequence[ScorablePair]) -> Scores:
        return np.array([self._overlap(pair) for pair in pairs], dtype=np.float32)

    def _overlap(self, pair: ScorablePair) -> float:
        assert isinstance(pair, Pair)
        at = pair.input_ids.index(_BREAK)
        query, passage = set(pair.input_ids[1:at]), set(pair.input_ids[at + 1 : -1])
        if passage & self._raise:
            raise ModelError("the fake runtime failed on a pair")
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


def _to_tokenized(query: list[int], passage: list[int], truncation: Truncation) -> TokenizedPassage:
    kept_query, budget = query[: truncation.max_query_tokens], truncation.max_passage_tokens
    parts = _parts(passage, budget, truncation)
    read = len(kept_query) + min(len(passage), sum(map(len, parts)))
    return TokenizedPassage(
        pairs=tuple(_to_pair(kept_query, part) for part in parts),
        token_count=len(query) + len(passage) + 3,
        truncated=read < len(query) + len(passage),
    )


def _parts(passage: list[int], budget: int, truncation: Truncation) -> list[list[int]]:
    if len(passage) <= budget:
        return [passage]
    if truncation.long_passages is LongPassages.REJECT:
        return []
    if truncation.long_passages is LongPassages.HEAD_AND_TAIL:
        return [passage[: budget - budget // 2] + passage[len(passage) - budget // 2 :]]
    if truncation.long_passages is LongPassages.CHUNK_AND_MAX:
        starts = range(0, min(len(passage), budget * truncation.max_chunks), budget)
        return [passage[start : start + budget] for start in starts]
    return [passage[:budget]]


def _to_pair(query: list[int], passage: list[int]) -> Pair:
    return Pair(
        input_ids=(_START, *query, _BREAK, *passage, _END),
        token_type_ids=(0,) * (len(query) + 2) + (1,) * (len(passage) + 1),
    )
