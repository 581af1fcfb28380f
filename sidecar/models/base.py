"""What the rest of the sidecar asks of a model: text -> vector, pair -> score.

An implementation serialises where its runtime cannot work side by side. Failures raise ModelError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sidecar.models.contract import ModelContract
from sidecar.types import Truncation

Vectors = npt.NDArray[np.float32]  # (texts, dimensions), rows normalised
Scores = npt.NDArray[np.float32]  # (pairs,), logits; NaN marks a pair the model could not score


@dataclass(frozen=True, slots=True)
class Pair:
    """A tokenized (query, passage) within its budgets, ready to be scored here."""

    input_ids: tuple[int, ...]
    token_type_ids: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens, special ones included."""
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class TextPair:
    """A (query, passage) cut to its budgets, ready to be sent to a server that tokenizes itself."""

    query: str
    passage: str
    length: int  # tokens, special ones included


ScorablePair = Pair | TextPair


@dataclass(frozen=True, slots=True)
class TokenizedPassage:
    """One passage of a query as its model reads it.

    `pairs` are one pair; several where the passage is read in chunks (its score is the largest of
    theirs); none where it was refused for its length. `token_count` is that of query, passage and
    special tokens before any cut; of a text far over its budget only the start may have been
    counted: then it is less than the whole, but over the budget. `truncated`: some of it is in no
    pair.
    """

    pairs: tuple[ScorablePair, ...]
    token_count: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Feed:
    """How a runtime wants to be fed.

    `side_by_side` batches at a time, each of at most `batch_tokens` tokens (one pair may exceed
    it). `pads`: a batch costs its longest pair times its pairs; else the sum of its pairs.
    `shares_cores`: it computes on this machine's cores, as others of this process do.
    """

    side_by_side: int
    batch_tokens: int
    pads: bool = True
    shares_cores: bool = True


class BiEncoder(Protocol):
    """Text -> vector."""

    @property
    def contract(self) -> ModelContract:
        """What the model promises."""

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries, in order."""

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, in order."""


class CrossEncoder(Protocol):
    """Pair -> score. `tokenize` is called in threads, `score` on the event loop."""

    @property
    def contract(self) -> ModelContract:
        """What the model promises."""

    @property
    def feed(self) -> Feed:
        """How it wants to be fed."""

    @property
    def batch_invariant(self) -> bool:
        """Whether a pair gets the same score, within the tolerance, whatever it is batched with."""

    @property
    def template_digest(self) -> str:
        """Hex digest of what, besides weights and budgets, makes a score: tokenizer, template."""

    def tokenize(
        self, query: str, passages: Sequence[str], truncation: Truncation
    ) -> list[TokenizedPassage]:
        """Each passage with the query, in order, within these budgets (or less: the contract's)."""

    async def score(self, pairs: Sequence[ScorablePair]) -> Scores:
        """The logits of one batch of pairs of its own `tokenize`, in order; NaN: that pair failed.

        Cancelled, it abandons the work as soon as the runtime can. Raises ModelError if the batch
        failed (one of its pairs may be the cause), ModelUnavailableError if the pairs are not.
        """
