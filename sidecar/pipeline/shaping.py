"""The order as it is shown: what of the stages' order a search wants left out or moved.

ranking of a stage -> grouping -> diversity -> the ranking as shown

Every ranking of a request is shaped, the last as the others. What the stages have scored stays as
it was: hits that grouping leaves out were candidates, and scores do not fall from hit to hit where
diversity moved them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sidecar.pipeline.diversity import diversified
from sidecar.pipeline.grouping import grouped
from sidecar.types import Diversity, Grouping, Hit, Ranking

Vectors = Mapping[str, npt.NDArray[np.float32]]
VectorsOf = Callable[[Sequence[str]], Awaitable[Vectors]]


class Shaper:
    """Shapes the rankings of one request. Vectors that it has asked for are kept for the next."""

    def __init__(
        self, grouping: Grouping | None, diversity: Diversity | None, vectors_of: VectorsOf
    ) -> None:
        self._grouping = grouping
        self._diversity = diversity
        self._vectors_of = vectors_of
        self._asked: set[str] = set()
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}

    async def shape(self, ranking: Ranking) -> Ranking:
        """The ranking as it is shown. Raises StorageError if vectors cannot be read."""
        hits = ranking.hits
        if self._grouping is not None:
            hits = grouped(hits, self._grouping.per_group)
        if self._diversity is not None:
            await self._fetch(hits[: self._diversity.window])
            hits = diversified(hits, self._vectors, self._diversity)
        return ranking if hits is ranking.hits else dataclasses.replace(ranking, hits=hits)

    async def _fetch(self, hits: Sequence[Hit]) -> None:
        wanted = [hit.doc_id for hit in hits if hit.doc_id not in self._asked]
        if wanted:
            self._vectors.update(await self._vectors_of(wanted))
            self._asked.update(wanted)
