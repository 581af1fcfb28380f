"""A cross-encoder on this machine: Tokenizer -> Batch -> Runtime -> one logit a pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sidecar.errors import ModelError
from sidecar.models.base import Pair, Scores
from sidecar.models.contract import ModelContract
from sidecar.models.runtime import Batch, Runtime
from sidecar.models.tokenizing import Tokenizer


class LocalCrossEncoder:
    """Implements `models.base.CrossEncoder`."""

    def __init__(
        self, contract: ModelContract, tokenizer: Tokenizer, runtime: Runtime, pad_id: int = 0
    ) -> None:
        self._contract = contract
        self._tokenizer = tokenizer
        self._runtime = runtime
        self._pad_id = pad_id

    @property
    def contract(self) -> ModelContract:
        """What the model promises."""
        return self._contract

    @property
    def concurrency(self) -> int:
        """As the runtime's."""
        return self._runtime.concurrency

    @property
    def runtime(self) -> Runtime:
        """What it runs on."""
        return self._runtime

    def tokenize(
        self, query: str, passages: Sequence[str], max_query_tokens: int, max_passage_tokens: int
    ) -> list[Pair]:
        """One pair for each passage."""
        return self._tokenizer.pairs(query, passages, max_query_tokens, max_passage_tokens)

    def score(self, pairs: Sequence[Pair]) -> Scores:
        """Logits (pairs,); an activation that the model's maker lays over them is not applied.

        It would be monotone (see `formats.py`), so the order is the same, and float32 scores near
        its ends would tie.
        """
        if not pairs:
            return np.zeros(0, dtype=np.float32)
        logits = self._runtime.run(Batch.pad(pairs, self._pad_id))
        if logits.shape not in ((len(pairs), 1), (len(pairs),)):
            raise ModelError(
                f"{self._contract.name} returns an array {logits.shape} for {len(pairs)} pairs: "
                "a cross-encoder must return one logit a pair (num_labels 1)"
            )
        return logits.reshape(len(pairs))
