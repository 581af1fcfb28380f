"""No position bias: every shown rank is examined, and clicks are a matter of the pair alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.clicks.log import ClickLog
from training.propensity.base import PositionModel, position_model


@dataclass(frozen=True, slots=True)
class NoPropensity:
    """P(C) = r: labels made with it are plain click-through rates."""

    name: str = "none"

    def fit(self, log: ClickLog) -> PositionModel:
        """Click-through rates of the pairs."""
        return position_model(self.name, log, np.ones(log.ranks))
