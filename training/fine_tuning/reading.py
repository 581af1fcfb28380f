"""Pairs and texts -> token ids, cut exactly as the sidecar cuts them when the model serves.

The sidecar's own tokenizer does it (sidecar/models/tokenizing.py): budgets in a text's own tokens,
long passages cut at their end. A decoder's pair is cut as text and put into its prompt, since that
is what vLLM is sent. Readers can be pickled, so that worker processes tokenize.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tokenizers
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from sidecar.models.base import Pair, TextPair
from sidecar.models.tokenizing import Tokenizer
from sidecar.types import Truncation
from training.fine_tuning.prompt import PASSAGE, QUERY, filled
from training.models.spec import ModelSpec

TYPES = "token_type_ids"
Batch = Mapping[str, Tensor]  # input_ids, attention_mask, token_type_ids: (inputs, tokens) int64


class Encoded(NamedTuple):
    """One input with its special tokens. `types` None: the model knows none."""

    ids: Sequence[int]
    types: Sequence[int] | None = None


class PairReader:
    """What a cross-encoder reads of a query and a passage."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, spec: ModelSpec) -> None:
        self._made_of = (tokenizer, spec)
        self._prompt = spec.template
        self._whole = copy_of(tokenizer)
        room = spec.max_tokens - tokens_of_prompt(self._whole, spec.template)
        self._tokenizer = Tokenizer(copy_of(tokenizer), room)
        self._budgets = Truncation(spec.query_tokens, spec.passage_tokens)
        self._has_types = TYPES in tokenizer.model_input_names

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of

    def read(self, query: str, passage: str) -> Encoded:
        """The query with a passage, each within its budget."""
        return self.read_all(query, [passage])[0]

    def read_all(self, query: str, passages: Sequence[str]) -> list[Encoded]:
        """The query with each of several passages; faster than one after another."""
        if self._prompt:
            return self._prompts(query, passages)
        made = self._tokenizer.pairs(query, passages, self._budgets)
        return [_encoded(each.pairs[0], self._has_types) for each in made]

    def _prompts(self, query: str, passages: Sequence[str]) -> list[Encoded]:
        cut = self._tokenizer.cut_texts(query, passages, self._budgets)
        texts = [_filled_pair(self._prompt, each.pairs[0]) for each in cut]
        return [Encoded(one.ids) for one in self._whole.encode_batch(texts)]


class TextReader:
    """What a bi-encoder reads of a query, and of a passage: with its prefix, within its budget."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, spec: ModelSpec) -> None:
        self._made_of = (tokenizer, spec)
        self._spec = spec
        self._tokenizer = Tokenizer(copy_of(tokenizer), spec.max_tokens)
        # Types that are all 0 are what a model takes for none.
        kind = self._tokenizer.single.query_types[0]
        self._has_types = TYPES in tokenizer.model_input_names and kind != 0

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of

    def query(self, text: str) -> Encoded:
        """A query."""
        return self.queries([text])[0]

    def passage(self, text: str) -> Encoded:
        """A passage."""
        return self.passages([text])[0]

    def queries(self, texts: Sequence[str]) -> list[Encoded]:
        """Several queries."""
        return self._read(self._spec.query_prefix, texts, self._spec.query_tokens)

    def passages(self, texts: Sequence[str]) -> list[Encoded]:
        """Several passages."""
        return self._read(self._spec.passage_prefix, texts, self._spec.passage_tokens)

    def _read(self, prefix: str, texts: Sequence[str], budget: int) -> list[Encoded]:
        made = self._tokenizer.texts([prefix + text for text in texts], budget)
        return [_encoded(each, self._has_types) for each in made]


def pad(encoded: Sequence[Encoded], tokenizer: PreTrainedTokenizerFast) -> dict[str, Tensor]:
    """Inputs of one batch as the model's arguments, each (inputs, tokens) int64, padded behind."""
    longest = max(len(each.ids) for each in encoded)
    ids = torch.full((len(encoded), longest), tokenizer.pad_token_id, dtype=torch.long)
    mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, each in enumerate(encoded):
        ids[row, : len(each.ids)] = torch.tensor(each.ids)
        mask[row, : len(each.ids)] = 1
        if each.types is not None:
            types[row, : len(each.ids)] = torch.tensor(each.types)
    batch = {"input_ids": ids, "attention_mask": mask}
    return batch if encoded[0].types is None else {**batch, TYPES: types}


def tokens_of_prompt(tokenizer: tokenizers.Tokenizer, prompt: str) -> int:
    """Tokens of a prompt besides its two texts."""
    bare = prompt.replace(QUERY, "").replace(PASSAGE, "")
    return len(tokenizer.encode(bare).ids) if prompt else 0


def _encoded(pair: Any, has_types: bool) -> Encoded:
    assert isinstance(pair, Pair)
    return Encoded(pair.input_ids, pair.token_type_ids if has_types else None)


def _filled_pair(prompt: str, pair: Any) -> str:
    assert isinstance(pair, TextPair)
    return filled(prompt, pair.query, pair.passage)


def copy_of(tokenizer: PreTrainedTokenizerFast) -> tokenizers.Tokenizer:
    """Its tokenizer without cutting and padding, which are done here."""
    copied = tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copied.no_truncation()
    copied.no_padding()
    return copied
