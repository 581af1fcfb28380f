"""A bi-encoder that vLLM serves: texts are tokenized and cut here, vectors come over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sidecar.config import BiEncoderConfig, VllmConfig
from sidecar.errors import ModelError
from sidecar.models.base import Vectors
from sidecar.models.contract import ModelContract
from sidecar.models.pooling import normalize
from sidecar.models.tokenizing import Tokenizer
from sidecar.models.vllm.attachment import Attachment
from sidecar.models.vllm.client import ServedModel, VllmServer
from sidecar.models.vllm.folder import ServedFolder
from sidecar.models.vllm.golden import COSINE_SHARE, check_golden, say_unchecked
from sidecar.models.vllm.replicas import Question, WrongScoresError

MAX_TEXTS = 256  # of one request

_Ids = tuple[int, ...]


class VllmBiEncoder:
    """Implements `models.base.BiEncoder`. Close it."""

    def __init__(
        self,
        folder: ServedFolder,
        urls: Sequence[str],
        model: BiEncoderConfig,
        config: VllmConfig,
    ) -> None:
        """Attaches to the servers; blocks for at most `attach_seconds`.

        Raises ModelError if the folder is no model, or if servers answer, but with other vectors.
        """
        self._contract = folder.contract
        self._config = config
        self._max_query_tokens = folder.contract.query_budget(model.max_query_tokens)
        self._max_passage_tokens = folder.contract.passage_budget(model.max_passage_tokens)
        self._tokenizer = Tokenizer.open(folder.tokenizer, folder.contract.max_tokens)
        say_unchecked(folder.contract)
        self._servers = Attachment(folder.contract.name, urls, self._verify, config)

    @property
    def contract(self) -> ModelContract:
        """What the model promises."""
        return self._contract

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors (texts, dimensions) of queries, in order. Raises ModelError."""
        return self._encode(self._query_ids(texts))

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors (texts, dimensions) of passages, in order. Raises ModelError."""
        return self._encode(self._passage_ids(texts))

    def close(self) -> None:
        """Ends what is under way and the connections."""
        self._servers.close()

    def _query_ids(self, texts: Sequence[str]) -> list[_Ids]:
        prefix = self._contract.query_prefix
        return self._ids([prefix + text for text in texts], self._max_query_tokens)

    def _passage_ids(self, texts: Sequence[str]) -> list[_Ids]:
        prefix = self._contract.passage_prefix
        return self._ids([prefix + text for text in texts], self._max_passage_tokens)

    def _ids(self, texts: Sequence[str], budget: int) -> list[_Ids]:
        return [each.input_ids for each in self._tokenizer.texts(texts, budget)]

    def _encode(self, ids: Sequence[_Ids]) -> Vectors:
        if not ids:
            return np.zeros((0, self._contract.dimensions), dtype=np.float32)
        questions = [
            (sum(len(each) for each in part), _question(part)) for part in self._requests(ids)
        ]
        size, each_server = self._config.request_tokens, self._config.tokens_in_flight
        limit = self._servers.replica_count * max(1, each_server // size)
        vectors = np.concatenate(self._servers.ask_all(questions, limit))
        if vectors.shape[1] != self._contract.dimensions:
            raise ModelError(
                f"{self._contract.name} is served with {vectors.shape[1]} dimensions, "
                f"its contract says {self._contract.dimensions}"
            )
        return normalize(vectors)

    def _requests(self, ids: Sequence[_Ids]) -> Iterator[list[_Ids]]:
        """Texts in order, in requests of at most `request_tokens` and MAX_TEXTS."""
        part: list[_Ids] = []
        for each in ids:
            full = sum(map(len, part)) + len(each) > self._config.request_tokens
            if part and (full or len(part) == MAX_TEXTS):
                yield part
                part = []
            part.append(each)
        yield part

    async def _verify(self, server: VllmServer, served: ServedModel) -> None:
        """Takes a server if it gives the golden cosines. Raises WrongScoresError, ServerFault."""
        if served.max_tokens and served.max_tokens < self._longest():
            raise WrongScoresError(
                f"it takes {served.max_tokens} tokens (--max-model-len), "
                f"{self._longest()} are needed"
            )
        golden = self._contract.golden_pairs
        if not golden:
            return
        queries = self._query_ids([query for query, _, _ in golden])
        passages = self._passage_ids([passage for _, passage, _ in golden])
        vectors = normalize(await server.embed(served.name, [*queries, *passages]))
        cosines = np.einsum("nd,nd->n", vectors[: len(golden)], vectors[len(golden) :])
        tolerance = self._config.golden_tolerance * COSINE_SHARE
        check_golden(cosines, [score for _, _, score in golden], tolerance, "cosine")

    def _longest(self) -> int:
        special = self._tokenizer.single.special_count
        budget = max(self._max_query_tokens, self._max_passage_tokens)
        return min(self._tokenizer.max_tokens, budget + special)


def _question(part: Sequence[_Ids]) -> Question[Vectors]:
    return lambda server, served: server.embed(served.name, part)
