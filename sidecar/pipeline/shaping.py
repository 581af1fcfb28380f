"""The order as it is shown: what of the stages' order a search wants left out or moved.

ranking of a stage -> grouping -> diversity -> the ranking as shown

Every ranking of a request that is sent is shaped, the last as the others, all by the same vectors.
What the stages have scored stays as it was: hits that grouping leaves out were candidates, and
scores do not fall from hit to hit where diversity moved them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sidecar.pipeline.diversity import diversified
from sidecar.pipeline.grouping import grouped
from sidecar.pipeline.reading import Lack, Reading
from sidecar.pipeline.stage_outcome import with_lack
from sidecar.types import Diversity, Grouping, Ranking

Vectors = Mapping[str, npt.NDArray[np.float32]]


class Shaper:
    """Shapes the rankings of one request; `vectors` of all its candidates, where there is
    diversity."""

    def __init__(
        self,
        grouping: Grouping | None,
        diversity: Diversity | None,
        vectors: Reading[Vectors] | None,
    ) -> None:
        self._grouping = grouping
        self._diversity = diversity
        self._vectors = vectors

    async def shape(self, ranking: Ranking, seconds: float) -> Ranking:
        """The ranking as it is shown. Vectors are waited for so long; without them its order is
        the stage's, and its reports say so."""
        if self._grouping is not None:
            hits = grouped(ranking.hits, self._grouping.per_group)
            ranking = dataclasses.replace(ranking, hits=hits)
        if self._diversity is None or self._vectors is None:
            return ranking
        vectors = await self._vectors.within(seconds)
        if isinstance(vectors, Lack):
            stages = with_lack(ranking.stages, vectors)
            return dataclasses.replace(ranking, stages=stages, degraded=True)
        hits = diversified(ranking.hits, vectors, self._diversity)
        return dataclasses.replace(ranking, hits=hits)
