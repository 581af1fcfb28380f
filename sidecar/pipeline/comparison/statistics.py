"""What is counted of a canary and of production."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.pipeline.comparison.durations import Durations


class VariantStatistics(NamedTuple):
    """What was seen of one variant. Times are 0 without an answer."""

    answers: int
    failure_share: float
    p50_seconds: float
    p99_seconds: float


class Preference(NamedTuple):
    """What interleaved sessions preferred. `share` is that of the canary among those that preferred
    either, None without any; `winner` is "" while the interval holds a half."""

    canary_wins: int
    production_wins: int
    ties: int
    share: float | None
    lower: float
    upper: float
    winner: str


@dataclass(slots=True)
class Answers:
    """The answers of one variant, of one kind."""

    failures: int = 0
    times: Durations = field(default_factory=Durations)

    @property
    def count(self) -> int:
        return self.times.count
