"""What the rest of the sidecar asks of a model: text -> vector, pair -> score.

Both are used from worker threads, concurrently; an implementation serialises where its runtime
cannot. Failures raise ModelError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sidecar.models.contract import ModelContract

Vectors = npt.NDArray[np.float32]  # (texts, dimensions), rows normalised
Scores = npt.NDArray[np.float32]  # (pairs,), logits; NaN marks a pair the model could not score


@dataclass(frozen=True, slots=True)
class Pair:
    """A tokenized (query, passage) within its budgets, ready to be scored.

    `token_count` is the length before any cut, `len(input_ids)` the length after it, special tokens
    included in both; `truncated` says whether they differ. Of a text far over its budget only the
    start may have been counted: then `token_count` is less than the length, but over the budget.
    """

    input_ids: tuple[int, ...]
    token_type_ids: tuple[int, ...]
    token_count: int
    truncated: bool


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
    """Pair -> score."""

    @property
    def contract(self) -> ModelContract:
        """What the model promises."""

    @property
    def concurrency(self) -> int:
        """Batches that it scores well at the same time, 1 or more; further callers wait."""

    def tokenize(
        self, query: str, passages: Sequence[str], max_query_tokens: int, max_passage_tokens: int
    ) -> list[Pair]:
        """One pair for each passage; query and passage are cut at their ends to their budgets."""

    def score(self, pairs: Sequence[Pair]) -> Scores:
        """The scores of pairs, in order. One call is one batch, padded to its longest pair."""
