"""A cross-encoder that vLLM serves: budgets and order stay here, logits come over HTTP."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sidecar.config import VllmConfig
from sidecar.models.base import Feed, ScorablePair, Scores, TextPair, TokenizedPassage
from sidecar.models.contract import ModelContract
from sidecar.models.cross_encoder import within_contract
from sidecar.models.sample_texts import sample_pairs
from sidecar.models.tokenizing import Tokenizer
from sidecar.models.vllm.adapter import read_adapter
from sidecar.models.vllm.attachment import Attachment
from sidecar.models.vllm.client import ServedModel, VllmServer
from sidecar.models.vllm.folder import ServedFolder
from sidecar.models.vllm.golden import check_golden, say_unchecked
from sidecar.models.vllm.replicas import WrongScoresError
from sidecar.models.vllm.template import digest_of_template, template_file, template_tokens
from sidecar.types import Truncation

MAX_PAIRS = 1024  # of one request (VLLM_MAX_COMPLETION_PROMPTS)
_FEWEST_TOKENS = 64  # room for less than this is no room for pairs
_PROBE_STEP = 16  # of the sample pairs, where a model has no golden ones


class VllmCrossEncoder:
    """Implements `models.base.CrossEncoder`. Close it."""

    def __init__(self, folder: ServedFolder, urls: Sequence[str], config: VllmConfig) -> None:
        """Attaches to the servers; blocks for at most `attach_seconds`.

        Raises ModelError if the folder is no model, or if servers answer, but none with its scores.
        """
        self._contract = folder.contract
        self._config = config
        self._template = template_file(config.chat_template) if folder.is_decoder else None
        self._template_tokens = 0
        if self._template is not None:
            self._template_tokens = template_tokens(self._template, folder.tokenizer)
        room = folder.contract.max_tokens - self._template_tokens
        self._tokenizer = Tokenizer.open(folder.tokenizer, room)
        self._batch_invariant = True
        self._was_served = False
        self._adapter = read_adapter(folder.path, folder.contract)
        say_unchecked(folder.contract)
        self._servers = Attachment(folder.contract.name, urls, self._verify, config)

    @property
    def contract(self) -> ModelContract:
        """What the model promises."""
        return self._contract

    @property
    def feed(self) -> Feed:
        """What keeps every server full, and no more: what waits, waits here."""
        size, each = self._config.request_tokens, self._config.tokens_in_flight
        side_by_side = self._servers.replica_count * max(1, each // size)
        return Feed(side_by_side, size, pads=False, shares_cores=False)

    @property
    def batch_invariant(self) -> bool:
        """As it was seen when the servers were attached to."""
        return self._batch_invariant and self._was_served

    @property
    def template_digest(self) -> str:
        """Of the tokenizer, and of a decoder's template."""
        return digest_of_template(self._tokenizer, self._template)

    def tokenize(
        self, query: str, passages: Sequence[str], truncation: Truncation
    ) -> list[TokenizedPassage]:
        """Each passage with the query as texts cut to the smaller of these budgets and ours."""
        budgets = within_contract(truncation, self._contract)
        cut = self._tokenizer.cut_texts(query, passages, budgets)
        return [self._with_template(passage) for passage in cut] if self._template else cut

    async def score(self, pairs: Sequence[ScorablePair]) -> Scores:
        """Logits (pairs,) in order; cancelled, the connection is closed and vLLM aborts them."""
        texts = [pair for pair in pairs if isinstance(pair, TextPair)]
        parts = [texts[start : start + MAX_PAIRS] for start in range(0, len(texts), MAX_PAIRS)]
        scores = [await self._score(part) for part in parts]
        return np.concatenate(scores) if scores else np.zeros(0, dtype=np.float32)

    def close(self) -> None:
        """Ends what is under way and the connections."""
        if (adapter := self._adapter) is not None:
            self._servers.tell_all(lambda server, _: server.unload_adapter(adapter.name))
        self._servers.close()

    async def _score(self, pairs: Sequence[TextPair]) -> Scores:
        tokens = sum(pair.length for pair in pairs)
        return await self._servers.ask(
            tokens, lambda server, served: server.score(self._name_on(served), pairs)
        )

    async def _verify(self, server: VllmServer, served: ServedModel) -> None:
        """Takes a server that has room and the scores. Raises WrongScoresError, ServerFault."""
        self._fit_to(served)
        if self._adapter is not None:
            await self._adapter.load(server)
        name = self._name_on(served)
        golden = self._contract.golden_pairs
        probes = [(query, passage) for query, passage, _ in golden]
        pairs = self._probes(probes or sample_pairs()[::_PROBE_STEP])
        together = await server.score(name, pairs)
        if golden:
            scores = [score for _, _, score in golden]
            check_golden(together, scores, self._config.golden_tolerance, "logit")
        alone = np.concatenate([await server.score(name, [pair]) for pair in pairs])
        moved = float(np.abs(alone - together).max())
        self._batch_invariant &= moved <= self._config.golden_tolerance
        self._was_served = True

    def _name_on(self, served: ServedModel) -> str:
        """What a server calls the model."""
        return served.name if self._adapter is None else self._adapter.name

    def _probes(self, pairs: Sequence[tuple[str, str]]) -> list[TextPair]:
        cut = [
            self.tokenize(query, [passage], Truncation())[0].pairs[0] for query, passage in pairs
        ]
        return [pair for pair in cut if isinstance(pair, TextPair)]

    def _fit_to(self, served: ServedModel) -> None:
        """The first server's longest input is the limit; one that takes less later is not used."""
        room = (served.max_tokens or self._contract.max_tokens) - self._template_tokens
        if room >= self._tokenizer.max_tokens:
            return
        if self._was_served or room < _FEWEST_TOKENS:
            raise WrongScoresError(
                f"it takes {served.max_tokens} tokens (--max-model-len), "
                f"{self._tokenizer.max_tokens + self._template_tokens} are needed"
            )
        self._tokenizer.max_tokens = room

    def _with_template(self, passage: TokenizedPassage) -> TokenizedPassage:
        """The counts with the tokens of the prompt."""
        more = self._template_tokens
        pairs = [
            dataclasses.replace(pair, length=pair.length + more)
            for pair in passage.pairs
            if isinstance(pair, TextPair)
        ]
        return TokenizedPassage(tuple(pairs), passage.token_count + more, passage.truncated)
