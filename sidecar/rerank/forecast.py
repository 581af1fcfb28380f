"""When a request's tokens would be scored, as of this moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a planner needs of a reranker. `detail` says why it is not `available`."""

    available: bool
    detail: str = ""
    seconds_per_token: float = 0.0

    def seconds_for(self, tokens: int) -> float:
        """Seconds from now until that many tokens of a new request are scored; rises with them."""
        return tokens * self.seconds_per_token
