"""A cross-encoder on this machine: Tokenizer -> Batch -> Runtime -> one logit a pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sidecar.errors import ModelError
from sidecar.models.base import Pair, Scores
from sidecar.models.contract import ModelContract
from sidecar.models.runtime import Batch, Runtime
from sidecar.models.tokenizing import Tokenizer


def score_pairs(
    runtime: Runtime, contract: ModelContract, pairs: Sequence[Pair], pad_id: int
) -> Scores:
    """Logits (pairs,) of one batch; an activation that the model's maker lays over is not applied.

    It would be monotone (`formats.py` checks that), so the order is the same, and float32 scores
    near its ends would tie. Raises ModelError.
    """
    if not pairs:
        return np.zeros(0, dtype=np.float32)
    logits = runtime.run(Batch.pad(pairs, pad_id))
    if logits.shape not in ((len(pairs), 1), (len(pairs),)):
        raise ModelError(
            f"{contract.name} returns an array {logits.shape} for {len(pairs)} pairs: "
            "a cross-encoder must return one logit a pair (num_labels 1)"
        )
    return logits.reshape(len(pairs))


class LocalCrossEncoder:
    """Implements `models.base.CrossEncoder`."""

    def __init__(self, contract: ModelContract, tokenizer: Tokenizer, runtime: Runtime) -> None:
        self._contract = contract
        self._tokenizer = tokenizer
        self._runtime = runtime

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
        """One pair for each passage, within the smaller of these budgets and the contract's."""
        return self._tokenizer.pairs(
            query,
            passages,
            self._contract.query_budget(max_query_tokens),
            self._contract.passage_budget(max_passage_tokens),
        )

    def score(self, pairs: Sequence[Pair]) -> Scores:
        """Logits (pairs,) of one batch, in order."""
        return score_pairs(self._runtime, self._contract, pairs, self._tokenizer.pad_id)
