"""A cross-encoder on this machine: Tokenizer -> Batch -> Runtime -> one logit a pair."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np

from sidecar.errors import ModelError
from sidecar.models.base import Feed, Pair, ScorablePair, Scores, TokenizedPassage
from sidecar.models.contract import ModelContract
from sidecar.models.runtime import Batch, Cancellation, Runtime
from sidecar.models.tokenizing import Tokenizer
from sidecar.models.workers import model_workers
from sidecar.types import Truncation


def score_pairs(
    runtime: Runtime,
    contract: ModelContract,
    pairs: Sequence[Pair],
    pad_id: int,
    cancellation: Cancellation | None = None,
) -> Scores:
    """Logits (pairs,) of one batch; an activation that the model's maker lays over is not applied.

    It would be monotone (`formats.py` checks that), so the order is the same, and float32 scores
    near its ends would tie. Raises ModelError.
    """
    if not pairs:
        return np.zeros(0, dtype=np.float32)
    logits = runtime.run(Batch.pad(pairs, pad_id, contract.max_tokens), cancellation)
    if logits.shape not in ((len(pairs), 1), (len(pairs),)):
        raise ModelError(
            f"{contract.name} returns an array {logits.shape} for {len(pairs)} pairs: "
            "a cross-encoder must return one logit a pair (num_labels 1)"
        )
    return logits.reshape(len(pairs))


def within_contract(truncation: Truncation, contract: ModelContract) -> Truncation:
    """The budgets that are asked for, lowered to those that the model was trained with."""
    return dataclasses.replace(
        truncation,
        max_query_tokens=contract.query_budget(truncation.max_query_tokens),
        max_passage_tokens=contract.passage_budget(truncation.max_passage_tokens),
    )


class LocalCrossEncoder:
    """Implements `models.base.CrossEncoder`. Batches are computed in threads of `workers`."""

    def __init__(
        self,
        contract: ModelContract,
        tokenizer: Tokenizer,
        runtime: Runtime,
        *,
        batch_tokens: int = 1024,
        batch_invariant: bool = True,
        workers: Executor | None = None,
    ) -> None:
        self._contract = contract
        self._tokenizer = tokenizer
        self._runtime = runtime
        self._feed = Feed(side_by_side=runtime.concurrency, batch_tokens=batch_tokens)
        self._batch_invariant = batch_invariant
        self._workers = workers or model_workers()

    @property
    def contract(self) -> ModelContract:
        """What the model promises."""
        return self._contract

    @property
    def feed(self) -> Feed:
        """As many batches side by side as the runtime runs well."""
        return self._feed

    @property
    def batch_invariant(self) -> bool:
        """As it was seen on this machine when the runtime was chosen."""
        return self._batch_invariant

    @property
    def template_digest(self) -> str:
        """Of the tokenizer file, the special tokens and types around a pair, and the limits."""
        contract, tokenizer = self._contract, self._tokenizer
        limits = (tokenizer.max_tokens, contract.max_query_tokens, contract.max_passage_tokens)
        made_of = repr((tokenizer.digest, dataclasses.astuple(tokenizer.double), limits))
        return hashlib.blake2b(made_of.encode(), digest_size=16).hexdigest()

    @property
    def runtime(self) -> Runtime:
        """What it runs on."""
        return self._runtime

    def tokenize(
        self, query: str, passages: Sequence[str], truncation: Truncation
    ) -> list[TokenizedPassage]:
        """Each passage with the query, within the smaller of these budgets and the contract's."""
        return self._tokenizer.pairs(query, passages, within_contract(truncation, self._contract))

    async def score(self, pairs: Sequence[ScorablePair]) -> Scores:
        """Logits (pairs,) of one batch, in order. Cancelled, it stops where the runtime can."""
        cancellation = Cancellation()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._workers, self._score, pairs, cancellation)
        except asyncio.CancelledError:
            cancellation.request()
            raise

    def close(self) -> None:
        """Frees the runtime; no batch is under way any more."""
        self._runtime.close()

    def _score(self, pairs: Sequence[ScorablePair], cancellation: Cancellation) -> Scores:
        own = [pair for pair in pairs if isinstance(pair, Pair)]
        pad_id = self._tokenizer.pad_id
        return score_pairs(self._runtime, self._contract, own, pad_id, cancellation)
