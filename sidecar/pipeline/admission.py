"""Which requests are accepted: whole or not at all, by what they will cost, in equal shares.

Costs are in seconds of the models' time. A class is served before those after it, so what counts
for a request is the accepted work of its class and the earlier ones. Shares are dynamic thresholds
(Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998): a
caller may hold `alpha` times what is free. One that floods alone gets alpha / (1 + alpha) of the
limit, n that flood alpha / (1 + n alpha) each, and what they leave free is there for the others.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from sidecar.config import AdmissionConfig
from sidecar.errors import OverloadedError
from sidecar.metrics import ADMITTED_SECONDS, REFUSED_REQUESTS
from sidecar.types import RequestClass

ALPHA = {
    RequestClass.INTERACTIVE: 2.0,
    RequestClass.PREFETCH: 1.0,
    RequestClass.OFFLINE: 0.25,
}
LEAST_RETRY_SECONDS = 0.05


class Admission:
    """The accepted requests. For one event loop."""

    def __init__(self, config: AdmissionConfig) -> None:
        self._limit = config.backlog_seconds
        self._admitted: Counter[tuple[RequestClass, str]] = Counter()  # requests under way
        self._cost: dict[tuple[RequestClass, str], float] = {}  # and their seconds

    @contextlib.contextmanager
    def admit(
        self, caller: str, request_class: RequestClass, cost_seconds: float
    ) -> Iterator[None]:
        """Counts a request while it is under way. Raises OverloadedError, before anything else, if
        it is too much now.

        With nothing under way that is served before it or with it, a request of any cost is
        accepted; one that costs nothing always is.
        """
        if cost_seconds <= 0.0:
            yield
            return
        try:
            self._check(caller, request_class, cost_seconds)
        except OverloadedError:
            REFUSED_REQUESTS.labels(request_class.name).inc()
            raise
        key = (request_class, caller)
        self._enter(key, cost_seconds)
        try:
            yield
        finally:
            self._leave(key, cost_seconds)

    def backlog_seconds(self, request_class: RequestClass = RequestClass.OFFLINE) -> float:
        """Work of the accepted requests of a class and the earlier ones (by default, of all)."""
        return sum(self._costs_up_to(request_class).values())

    def _enter(self, key: tuple[RequestClass, str], cost_seconds: float) -> None:
        self._admitted[key] += 1
        self._cost[key] = self._cost.get(key, 0.0) + cost_seconds
        self._show(key[0])

    def _leave(self, key: tuple[RequestClass, str], cost_seconds: float) -> None:
        self._admitted[key] -= 1
        self._cost[key] -= cost_seconds
        if self._admitted[key] == 0:  # rounding leaves no rest, and callers are forgotten
            del self._admitted[key], self._cost[key]
        self._show(key[0])

    def _show(self, request_class: RequestClass) -> None:
        admitted = sum(cost for (of, _), cost in self._cost.items() if of is request_class)
        ADMITTED_SECONDS.labels(request_class.name).set(admitted)

    def _check(self, caller: str, request_class: RequestClass, cost_seconds: float) -> None:
        costs = self._costs_up_to(request_class)
        backlog = sum(costs.values())
        if self._limit <= 0.0 or backlog <= 0.0:
            return
        own = sum(cost for (_, of), cost in costs.items() if of == caller)
        alpha = ALPHA[request_class]
        beyond_limit = backlog + cost_seconds - self._limit
        beyond_share = own + cost_seconds - alpha * (self._limit - backlog)
        if beyond_limit <= 0.0 and beyond_share <= 0.0:
            return
        # Of each second that the models work off, the caller's own part is its part of the backlog.
        share_seconds = beyond_share / (alpha + own / backlog)
        room_seconds = min(max(beyond_limit, share_seconds), backlog)
        raise OverloadedError(
            _refusal(own, backlog, self._limit, cost_seconds),
            max(room_seconds, LEAST_RETRY_SECONDS),
        )

    def _costs_up_to(self, last: RequestClass) -> dict[tuple[RequestClass, str], float]:
        return {key: cost for key, cost in self._cost.items() if key[0] <= last}


def _refusal(own: float, backlog: float, limit: float, cost: float) -> str:
    return (
        f"the server is full: {cost:.2f} s of work come on top of {backlog:.2f} s accepted "
        f"({own:.2f} s of this caller's, which may hold a share of what is free), {limit:g} s are "
        "the limit: send it again later"
    )
