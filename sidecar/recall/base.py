"""What the pipeline asks of a place that recalls candidates: the seam for remote engines and fakes.

Query -> `lexical` and `dense`, each a Leg (best first) -> fusion -> `passages` of those that stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Attribute, Filter, StageReason


class Recalled(NamedTuple):
    """One candidate of a leg and its score there (BM25, or cosine similarity)."""

    doc_id: str
    score: float


@dataclass(frozen=True, slots=True)
class Leg:
    """The answer of one leg, best first, ids unique; ties by doc_id.

    `reason` is set, and `recalled` empty, when the leg could not run.
    `eligible` counts the documents that passed the filter, where it is known without a scan.
    `answered` is below 1 where only that share of a remote index's shards answered; then `reason`
    is SHARDS_MISSING, and `recalled` is what those have. `retry_seconds`: what keeps the index is
    not there for now, and may be asked again after so long.
    """

    recalled: tuple[Recalled, ...]
    eligible: int | None = None
    reason: StageReason = StageReason.NONE
    detail: str = ""
    answered: float = 1.0
    retry_seconds: float | None = None


class Recaller(Protocol):
    """Recall over one collection. Methods block; they are called from worker threads, concurrently.

    The filter cuts before ranking: a leg returns `depth` candidates wherever so many match.
    """

    def lexical(
        self,
        query: str,
        filter: Filter | None,
        depth: int,
        *,
        field_weights: Mapping[str, float] | None = None,
        timeout_seconds: float | None = None,
    ) -> Leg:
        """The `depth` best documents by BM25. Raises InvalidFieldError for a bad filter.

        With `field_weights`, by the sum over text fields of weight times BM25 in that field; fields
        left out weigh 1. Nobody waits for an answer after `timeout_seconds`.
        """

    def dense(
        self,
        vector: npt.NDArray[np.float32],
        filter: Filter | None,
        depth: int,
        generation: BiEncoderIdentity | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> Leg:
        """The `depth` best documents by cosine; `vector` is float32 (dimensions,), normalised.

        `generation`: by the vectors of that bi-encoder; None: of the one that leads.
        """

    def passages(self, doc_ids: Sequence[str]) -> Mapping[str, str]:
        """The passages of documents by id; documents deleted meanwhile are left out."""

    def attributes(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        """The attributes of documents by id, likewise."""

    def vectors(
        self, doc_ids: Sequence[str], generation: BiEncoderIdentity | None = None
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """The vectors of documents by id, float32 (dimensions,), normalised; those without one of
        `generation` (None: of the one that leads) are left out."""
