"""How late the event loop is: a busy machine lets everything wait, answers too."""

from __future__ import annotations

import asyncio
from collections import deque

from sidecar.metrics import LOOP_LAG_SECONDS

PERIOD_SECONDS = 0.02
SAMPLES = 256  # some five seconds
QUANTILE = 0.99


class LoopLag:
    """A running high quantile of the time by which timers of the event loop come late."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=SAMPLES)
        self._quantile = 0.0

    @property
    def seconds(self) -> float:
        """The quantile over the last seconds; 0 before the first sample."""
        return self._quantile

    async def watch(self) -> None:
        """Takes samples until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PERIOD_SECONDS
            await asyncio.sleep(PERIOD_SECONDS)
            self.observe(max(0.0, loop.time() - due))

    def observe(self, late_seconds: float) -> None:
        """Takes one sample."""
        self._late.append(late_seconds)
        ranked = sorted(self._late)
        self._quantile = ranked[int(QUANTILE * (len(ranked) - 1))]
        LOOP_LAG_SECONDS.set(self._quantile)
