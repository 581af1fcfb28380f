"""Decoders in this process: a sidecar has them served by vLLM, evaluation reads them with torch.

Both implement the interfaces of `sidecar.models.base`, so that the sidecar's pipelines run over
them as over any other model. Budgets and template are those of the folder's contract.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sidecar.models.base import (
    Feed,
    ScorablePair,
    Scores,
    TextPair,
    TokenizedPassage,
    Vectors,
)
from sidecar.models.contract import ModelContract
from sidecar.models.vllm.folder import read_served_folder
from sidecar.types import Truncation

if TYPE_CHECKING:
    from training.fine_tuning.opening import Opened

BATCH_TOKENS = 2048


def is_decoder(model: str, kind: str) -> bool:
    """Whether vLLM alone serves it. Raises ModelError for what is no model."""
    return read_served_folder(model, "", kind).is_decoder


class DecoderReranker:
    """Implements `models.base.CrossEncoder`."""

    def __init__(self, model: str) -> None:
        """Raises ModelError."""
        from training.fine_tuning.reading import PairReader

        self._opened, self._contract = _opened(model, "cross-encoder")
        self._reader = PairReader(self._opened.tokenizer, self._opened.spec)

    @property
    def contract(self) -> ModelContract:
        """What the model promises."""
        return self._contract

    @property
    def feed(self) -> Feed:
        """One batch at a time."""
        return Feed(side_by_side=1, batch_tokens=BATCH_TOKENS)

    @property
    def batch_invariant(self) -> bool:
        """Padding is masked."""
        return True

    @property
    def template_digest(self) -> str:
        """Of the prompt."""
        return self._opened.spec.template_digest

    def tokenize(
        self, query: str, passages: Sequence[str], truncation: Truncation
    ) -> list[TokenizedPassage]:
        """As training reads them, within the contract's budgets."""
        read = self._reader.read_all(query, list(passages))
        return [
            TokenizedPassage((TextPair(query, passage, len(each.ids)),), len(each.ids), False)
            for passage, each in zip(passages, read, strict=True)
        ]

    async def score(self, pairs: Sequence[ScorablePair]) -> Scores:
        """Logits (pairs,)."""
        from training.fine_tuning.scoring import score_pairs

        texts = [(pair.query, pair.passage) for pair in pairs if isinstance(pair, TextPair)]
        scores = await asyncio.to_thread(score_pairs, self._opened, texts, BATCH_TOKENS)
        return scores.astype(np.float32)


class DecoderBiEncoder:
    """Implements `models.base.BiEncoder`."""

    def __init__(self, model: str) -> None:
        """Raises ModelError."""
        self._opened, self._contract = _opened(model, "bi-encoder")

    @property
    def contract(self) -> ModelContract:
        """What the model promises."""
        return self._contract

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors (texts, dimensions)."""
        from training.fine_tuning.scoring import encode_queries

        return _unit(encode_queries(self._opened, texts, BATCH_TOKENS))

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors (texts, dimensions)."""
        from training.fine_tuning.scoring import encode_passages

        return _unit(encode_passages(self._opened, texts, BATCH_TOKENS))


def _opened(model: str, kind: str) -> tuple[Opened, ModelContract]:
    # torch takes seconds to import, and most evaluations do without it.
    from training.fine_tuning.opening import open_base

    return open_base(model, kind), read_served_folder(model, "", kind).contract


def _unit(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return unit
