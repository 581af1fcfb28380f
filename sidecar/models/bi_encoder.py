"""A bi-encoder on this machine: Tokenizer -> Batch -> Runtime -> pooling -> unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sidecar.config import BiEncoderConfig
from sidecar.errors import ModelError
from sidecar.models.base import Pair, Vectors
from sidecar.models.contract import ModelContract
from sidecar.models.pooling import normalize, pool
from sidecar.models.runtime import Batch, Runtime
from sidecar.models.tokenizing import Tokenizer
from sidecar.models.workers import yield_to_others


def encode_texts(
    runtime: Runtime, contract: ModelContract, texts: Sequence[Pair], pad_id: int
) -> Vectors:
    """Unit vectors (texts, dimensions) of one batch of tokenized texts. Raises ModelError."""
    batch = Batch.pad(texts, pad_id, contract.max_tokens)
    vectors = pool(runtime.run(batch), batch.attention_mask, contract.pooling)
    if vectors.shape != (len(texts), contract.dimensions):
        raise ModelError(
            f"{contract.name} returns an array {vectors.shape} for {len(texts)} texts, "
            f"its contract says {contract.dimensions} dimensions"
        )
    return normalize(vectors)


class LocalBiEncoder:
    """Implements `models.base.BiEncoder`."""

    def __init__(
        self,
        contract: ModelContract,
        tokenizer: Tokenizer,
        runtime: Runtime,
        config: BiEncoderConfig,
    ) -> None:
        self._contract = contract
        self._tokenizer = tokenizer
        self._runtime = runtime
        self._max_query_tokens = contract.query_budget(config.max_query_tokens)
        self._max_passage_tokens = contract.passage_budget(config.max_passage_tokens)
        self._batch_size = config.batch_size
        # Bulk encoding keeps every stream of the runtime busy; a single batch needs no thread.
        self._workers = ThreadPoolExecutor(
            runtime.concurrency, thread_name_prefix="encode", initializer=yield_to_others
        )

    @property
    def contract(self) -> ModelContract:
        """What the model promises."""
        return self._contract

    @property
    def runtime(self) -> Runtime:
        """What it runs on."""
        return self._runtime

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors (texts, dimensions) of queries, in order."""
        prefix = self._contract.query_prefix
        return self._encode([prefix + text for text in texts], self._max_query_tokens)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors (texts, dimensions) of passages, in order."""
        prefix = self._contract.passage_prefix
        return self._encode([prefix + text for text in texts], self._max_passage_tokens)

    def _encode(self, texts: Sequence[str], max_tokens: int) -> Vectors:
        vectors = np.zeros((len(texts), self._contract.dimensions), dtype=np.float32)
        tokens = self._tokenizer.texts(texts, max_tokens)
        order = sorted(range(len(tokens)), key=lambda row: -tokens[row].length)
        size = self._batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]

        def run(rows: list[int]) -> None:
            batch = [tokens[row] for row in rows]
            vectors[rows] = encode_texts(
                self._runtime, self._contract, batch, self._tokenizer.pad_id
            )

        if len(batches) == 1:
            run(batches[0])
        else:
            list(self._workers.map(run, batches))
        return vectors

    def close(self) -> None:
        """Ends the worker threads and frees the runtime."""
        self._workers.shutdown(wait=True)
        self._runtime.close()
