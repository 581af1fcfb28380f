"""When a request's tokens would be scored, as things stand at this moment: pure.

The model's lanes are taken as a fluid: what comes before a new request, and its own work, are
spread over all of them, but no batch is spread over several.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Rivals:
    """Sizes, in tokens, of what shares the model with a new request, smallest first."""

    sizes: tuple[float, ...] = ()
    totals: tuple[float, ...] = (0.0,)  # of the smallest 0, 1, 2 ...

    @classmethod
    def of(cls, sizes: Iterable[float]) -> Rivals:
        """From sizes in any order."""
        ordered = tuple(sorted(sizes))
        return cls(ordered, tuple(accumulate(ordered, initial=0.0)))

    def before(self, tokens: float) -> float:
        """Tokens of theirs that are served by the time that so many of mine are, at equal shares:
        each rival's own, and at most as many as mine."""
        smaller = bisect.bisect_right(self.sizes, tokens)
        return self.totals[smaller] + (len(self.sizes) - smaller) * tokens


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a planner needs of a model. `detail` says why it is not `available`.

    `ahead_seconds` is work, in seconds of all lanes, that comes before any of a new request's: what
    runs, and what waits in a better class or an earlier stage. `first_free_seconds` is when a lane
    is free for the first batch. `requests` are the caller's own in the same class, `callers` the
    others', each with all its requests. A batch of `indivisible_tokens` or less runs on one lane.
    """

    available: bool
    detail: str = ""
    seconds_per_token: float = 0.0
    lanes: int = 1
    ahead_seconds: float = 0.0
    first_free_seconds: float = 0.0
    indivisible_tokens: int = 0
    requests: Rivals = field(default_factory=Rivals)
    callers: Rivals = field(default_factory=Rivals)

    def seconds_for(self, tokens: int) -> float:
        """Seconds from now until that many tokens of a new request are scored; rises with them.

        In fair shares other requests of the caller hold it up by as many tokens as it has at most,
        other callers by as many as the caller's requests get until then.
        """
        if tokens <= 0:
            return 0.0
        callers_own = tokens + self.requests.before(tokens)
        work = callers_own + self.callers.before(callers_own)
        fluid = self.ahead_seconds + work * self.seconds_per_token / self.lanes
        last_batch = min(tokens, self.indivisible_tokens) * self.seconds_per_token
        return max(fluid, self.first_free_seconds + last_batch)
