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


class LocalBiEncoder:
    """Implements `models.base.BiEncoder`."""

    def __init__(
        self,
        contract: ModelContract,
        tokenizer: Tokenizer,
        runtime: Runtime,
        config: BiEncoderConfig,
        pad_id: int = 0,
    ) -> None:
        self._contract = contract
        self._tokenizer = tokenizer
        self._runtime = runtime
        self._config = config
        self._pad_id = pad_id
        # Bulk encoding keeps every stream of the runtime busy; a single batch needs no thread.
        self._workers = ThreadPoolExecutor(runtime.concurrency, thread_name_prefix="encode")

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
        return self._encode([prefix + text for text in texts], self._config.max_query_tokens)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors (texts, dimensions) of passages, in order."""
        prefix = self._contract.passage_prefix
        return self._encode([prefix + text for text in texts], self._config.max_passage_tokens)

    def _encode(self, texts: Sequence[str], max_tokens: int) -> Vectors:
        vectors = np.zeros((len(texts), self._contract.dimensions), dtype=np.float32)
        tokens = self._tokenizer.texts(texts, max_tokens)
        order = sorted(range(len(tokens)), key=lambda row: -len(tokens[row].input_ids))
        size = self._config.batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]

        def run(rows: list[int]) -> None:
            vectors[rows] = self._vectors([tokens[row] for row in rows])

        if len(batches) == 1:
            run(batches[0])
        else:
            list(self._workers.map(run, batches))
        return vectors

    def _vectors(self, tokens: Sequence[Pair]) -> Vectors:
        batch = Batch.pad(tokens, self._pad_id)
        vectors = pool(self._runtime.run(batch), batch.attention_mask, self._contract.pooling)
        if vectors.shape[1] != self._contract.dimensions:
            raise ModelError(
                f"{self._contract.name} returns vectors of {vectors.shape[1]} dimensions, "
                f"its contract says {self._contract.dimensions}"
            )
        return normalize(vectors)

    def close(self) -> None:
        """Ends the worker threads and frees the runtime."""
        self._workers.shutdown(wait=True)
        self._runtime.close()
