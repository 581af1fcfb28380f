"""Tokenizing off the event loop, and what it teaches about texts to come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

from sidecar.models.base import CrossEncoder, TokenizedPassage
from sidecar.rerank.pace import SPECIAL_TOKENS, TextRates
from sidecar.types import LongPassages, Truncation

Read = TokenizedPassage | Exception


class Reader:
    """Reads passages as a cross-encoder does."""

    def __init__(self, encoder: CrossEncoder, threads: Executor) -> None:
        self._encoder = encoder
        self._threads = threads
        self._rates = TextRates()

    @property
    def pair_tokens(self) -> float:
        """Tokens that the model read for a candidate of late, in the mean."""
        return self._rates.pair_tokens

    async def read(self, query: str, passages: Sequence[str], truncation: Truncation) -> list[Read]:
        """Each passage, in order; the exception where one cannot be tokenized."""
        loop = asyncio.get_running_loop()
        read = await loop.run_in_executor(self._threads, self._read, query, passages, truncation)
        self._learn(query, passages, read)
        return read

    def estimate(
        self, query: str, passages: Sequence[str | None], truncation: Truncation
    ) -> list[int]:
        """Tokens that the model will read for each passage, guessed from its characters."""
        rates, contract = self._rates, self._encoder.contract
        budget = contract.passage_budget(truncation.max_passage_tokens)
        asked = contract.query_budget(truncation.max_query_tokens)
        per_character = rates.tokens_per_character
        around = SPECIAL_TOKENS + min(asked, len(query) * per_character)
        room = min(budget, max(1, contract.max_tokens - round(around)))
        in_chunks = truncation.long_passages is LongPassages.CHUNK_AND_MAX
        refuses = truncation.long_passages is LongPassages.REJECT
        chunks = truncation.max_chunks if in_chunks else 1
        estimates = []
        for passage in passages:
            tokens = len(passage) * per_character if passage else 0.0
            parts = min(chunks, max(1, -(-tokens // room)))
            refused = not passage or (refuses and tokens > budget)
            estimates.append(0 if refused else round(parts * around + min(tokens, parts * room)))
        return estimates

    def _read(self, query: str, passages: Sequence[str], truncation: Truncation) -> list[Read]:
        try:
            return list(self._encoder.tokenize(query, passages, truncation))
        except Exception as error:  # one text must not cost the others, whatever is raised
            if len(passages) == 1:
                return [error]
            return [one for passage in passages for one in self._read(query, [passage], truncation)]

    def _learn(self, query: str, passages: Sequence[str], read: Sequence[Read]) -> None:
        whole = characters = tokens = pairs = pair_tokens = 0
        for passage, one in zip(passages, read, strict=True):
            if isinstance(one, Exception):
                continue
            pairs += 1
            pair_tokens += sum(pair.length for pair in one.pairs)
            if not one.truncated:
                whole += 1
                characters += len(query) + len(passage)
                tokens += one.token_count
        self._rates.observe_pairs(pairs, pair_tokens)
        self._rates.observe_texts(whole, characters, tokens)
