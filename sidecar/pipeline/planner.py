"""How the time until the deadline is split over the two rerank stages: pure functions.

tokens of the candidates + forecasts of both models + seconds left -> candidates for each stage.

The first stage comes first: without it there is no head for the second to read. Where the time
does not suffice for both in full, a share of it is kept for the second stage, which reads from the
head down, so that what it reads is what is shown. A stage is planned again when it starts, with the
time that is left then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from sidecar.config import PlannerConfig


class Pace(Protocol):
    """What a plan needs of a model (`rerank.reranker.Forecast`)."""

    def seconds_for(self, tokens: int) -> float:
        """Seconds from now until that many tokens of a new request are scored; rises with them."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage would like to do: its candidates' tokens, best first, and the model's pace."""

    tokens: Sequence[int]
    pace: Pace

    def seconds(self, candidates: int) -> float:
        """Time until the first `candidates` are scored; 0 for none."""
        return self.pace.seconds_for(sum(self.tokens[:candidates])) if candidates else 0.0

    def fitting(self, seconds: float) -> int:
        """The most candidates, from the first, that are scored within `seconds`."""
        totals = list(accumulate(self.tokens))
        return bisect_right(totals, seconds, key=self.pace.seconds_for)


@dataclass(frozen=True, slots=True)
class Split:
    """Candidates for each stage, and the seconds that the first must leave for the second."""

    first: int
    second: int
    second_seconds: float


def split_time(
    first: Work | None, second: Work | None, seconds: float, config: PlannerConfig
) -> Split:
    """How many candidates each stage may score in `seconds`; None is a stage that does not run.

    Each stage alone gets all the time. Together the second gets what the first leaves of it, and at
    least `second_share` (or what it needs in full, if less); with fewer than `fewest_second`
    candidates for it, the first gets all.
    """
    if second is None or not second.tokens:
        return Split(first.fitting(seconds) if first else 0, 0, 0.0)
    if first is None or not first.tokens:
        return Split(0, second.fitting(seconds), seconds)
    kept = min(second.seconds(len(second.tokens)), config.second_share * seconds)
    readable_first = first.fitting(seconds - kept)
    left = seconds - first.seconds(readable_first)
    readable_second = min(second.fitting(left), readable_first)
    wanted = min(config.fewest_second, len(second.tokens))
    if readable_second < wanted:
        return Split(first.fitting(seconds), 0, 0.0)
    return Split(readable_first, readable_second, second.seconds(readable_second))
