"""When a call's rankings have to be there: its own deadline, less a margin for the answer."""

from __future__ import annotations

from sidecar.config import ServerConfig
from sidecar.errors import DeadlineError
from sidecar.pipeline.deadline import Deadline
from sidecar.service.calls import Context
from sidecar.service.loop_lag import LoopLag

# Of the time that is left, what may be kept back because the machine is late.
MOST_LATE = 0.25


class Deadlines:
    """When rankings have to be there for answers to be in time."""

    def __init__(self, config: ServerConfig, lag: LoopLag | None = None) -> None:
        self._config = config
        self._lag = lag or LoopLag()

    def of(self, context: Context, seconds: float | None = None) -> Deadline:
        """`seconds` (None: the configured default) from now, but always before the caller's own
        deadline, if it set one, by a margin: the configured one, and as late as this machine is.

        Raises DeadlineError if that is over.
        """
        remaining: float | None = context.time_remaining()
        if remaining is None:
            default = self._config.default_timeout_seconds
            return Deadline.after(default if seconds is None else seconds)
        late = min(self._lag.seconds, MOST_LATE * max(0.0, remaining))
        left = remaining - self._config.reply_margin_seconds - late
        if left <= 0.0:
            raise DeadlineError("the deadline passed before the work began: allow more time")
        return Deadline.after(left if seconds is None else min(left, seconds))
