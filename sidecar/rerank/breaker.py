"""Whether a model is asked at all: a circuit breaker (Nygard, "Release It!", 2007).

CLOSED -> it is lost a few times in a row, or once and for all -> OPEN -> after a back-off ->
HALF_OPEN, one probe -> CLOSED, or OPEN again for twice as long.
"""

from __future__ import annotations

import enum

LOSSES_TO_OPEN = 3
FIRST_BACK_OFF_SECONDS = 0.5
LONGEST_BACK_OFF_SECONDS = 30.0


class BreakerState(enum.IntEnum):
    """As the metric counts."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """One model's. Times are of any one clock, in seconds."""

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.cause = ""
        self.retry_at = 0.0
        self._back_off = FIRST_BACK_OFF_SECONDS
        self._losses = 0

    @property
    def is_closed(self) -> bool:
        """Whether requests may ask the model."""
        return self.state is BreakerState.CLOSED

    @property
    def is_open(self) -> bool:
        """Whether nothing at all is asked, until `retry_at`."""
        return self.state is BreakerState.OPEN

    def succeed(self) -> None:
        """A batch, or the probe, got scores."""
        self.state = BreakerState.CLOSED
        self.cause = ""
        self._back_off = FIRST_BACK_OFF_SECONDS
        self._losses = 0

    def lose(self, now: float, cause: str) -> None:
        """The model could not be asked: opens it if that was not the first time in a row."""
        self._losses += 1
        if self._losses >= LOSSES_TO_OPEN or not self.is_closed:
            self.open(now, cause)

    def open(self, now: float, cause: str) -> None:
        """No requests until a probe, after the back-off, succeeds."""
        if self.state is BreakerState.OPEN:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._back_off = min(2 * self._back_off, LONGEST_BACK_OFF_SECONDS)
        self.state = BreakerState.OPEN
        self.cause = cause
        self.retry_at = now + self._back_off

    def half_open(self) -> None:
        """The back-off is over: the probe goes."""
        self.state = BreakerState.HALF_OPEN
