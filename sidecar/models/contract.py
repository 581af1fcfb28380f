"""What a model promises, read from `contract.json` in its folder or inferred for foreign folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelContract:
    """What a model promises.

    `languages` are ISO 639-1 codes; empty means any. `weight` is the share of a cross-encoder's
    score against the earlier stage's. `files` are sha256 hex digests by file name.
    """

    name: str
    kind: str  # "bi-encoder" or "cross-encoder"
    revision: str
    languages: tuple[str, ...] = ()
    max_tokens: int = 512
    dimensions: int = 0
    pooling: str = "mean"
    normalize: bool = True
    query_prefix: str = ""
    passage_prefix: str = ""
    weight: float = 1.0
    eight_bit_holds: bool = False
    golden_pairs: Sequence[tuple[str, str, float]] = ()
    files: tuple[tuple[str, str], ...] = ()

    def serves(self, language: str) -> bool:
        """Whether a query in `language` ("" when unknown) is within the contract."""
        return not self.languages or not language or language in self.languages
