"""What the pipeline asks of a place that recalls candidates: the seam for remote engines and fakes.

Query -> `lexical` and `dense`, each a Leg (best first) -> fusion -> `passages` of those that stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Filter, StageReason


@dataclass(frozen=True, slots=True)
class Recalled:
    """One candidate of a leg and its score there (BM25, or cosine similarity)."""

    doc_id: str
    score: float


@dataclass(frozen=True, slots=True)
class Leg:
    """The answer of one leg, best first, ids unique; ties by doc_id.

    `reason` is set, and `recalled` empty, when the leg could not run.
    `eligible` counts the documents that passed the filter, where it is known without a scan.
    """

    recalled: tuple[Recalled, ...]
    eligible: int | None = None
    reason: StageReason = StageReason.NONE
    detail: str = ""


class Recaller(Protocol):
    """Recall over one collection. Methods block; they are called from worker threads, concurrently.

    The filter cuts before ranking: a leg returns `depth` candidates wherever so many match.
    """

    def lexical(self, query: str, filter: Filter | None, depth: int) -> Leg:
        """The `depth` best documents by BM25. Raises InvalidFieldError for a bad filter."""

    def dense(
        self,
        vector: npt.NDArray[np.float32],
        filter: Filter | None,
        depth: int,
        generation: BiEncoderIdentity | None = None,
    ) -> Leg:
        """The `depth` best documents by cosine; `vector` is float32 (dimensions,), normalised.

        `generation`: by the vectors of that bi-encoder; None: of the one that leads.
        """

    def passages(self, doc_ids: Sequence[str]) -> Mapping[str, str]:
        """The passages of documents by id; documents deleted meanwhile are left out."""
