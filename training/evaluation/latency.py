"""How long production and the candidate take for the same requests.

Requests alternate between the two, one at a time, so that whatever else the machine does hits both.
Each is asked several times and its shortest time counts: a pause of the machine goes, the work of
the request stays. p50 and p99 are over the requests; while the two p99 differ, either way, there
are further rounds, up to MOST_ROUNDS: what is left then is the models' own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.evidence import Latency
from training.evaluation.lineup import CANDIDATE, PRODUCTION

ROUNDS, MOST_ROUNDS = 3, 8
ALIKE = 1.05  # ratio of the two p99 from which they are looked at again
WARM_UP_REQUESTS = 10

Ask = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """In milliseconds."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Timed:
    """Both over the same `requests`."""

    requests: int
    production: Percentiles
    candidate: Percentiles

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Timed:
        """Of what `dataclasses.asdict` made."""
        both = (Percentiles(**tree[name]) for name in (PRODUCTION, CANDIDATE))
        return cls(tree["requests"], *both)

    def to_evidence(self) -> Latency:
        """What the gate looks at."""
        return Latency(self.production.p99, self.candidate.p99)


def timed(production: Ask, candidate: Ask, queries: Sequence[str], requests: int) -> Timed:
    """`requests` queries, taken in turn. Raises ValueError without any."""
    if not queries or requests < 1:
        raise ValueError("no request to time")
    asked = [queries[number % len(queries)] for number in range(requests)]
    asks = {PRODUCTION: production, CANDIDATE: candidate}
    for query in asked[:WARM_UP_REQUESTS]:
        for ask in asks.values():
            ask(query)
    taken = {name: np.full(len(asked), np.inf) for name in asks}
    for number in range(MOST_ROUNDS):
        _ask_all(asks, asked, taken, number)
        before, after = (_percentiles(taken[name]) for name in (PRODUCTION, CANDIDATE))
        if number + 1 >= ROUNDS and 1 / ALIKE <= after.p99 / before.p99 <= ALIKE:
            break
    return Timed(len(asked), before, after)


def _ask_all(
    asks: Mapping[str, Ask],
    asked: Sequence[str],
    taken: Mapping[str, NDArray[np.float64]],
    number: int,
) -> None:
    """A round: `taken`, (requests,) seconds by system, is lowered to what was shorter now."""
    for place, query in enumerate(asked):
        for name in list(asks)[:: 1 if (place + number) % 2 else -1]:
            began = time.perf_counter()
            asks[name](query)
            taken[name][place] = min(taken[name][place], time.perf_counter() - began)


def _percentiles(seconds: NDArray[np.float64]) -> Percentiles:
    p50, p99 = np.percentile(seconds * 1000.0, (50, 99))
    return Percentiles(round(float(p50), 3), round(float(p99), 3))
