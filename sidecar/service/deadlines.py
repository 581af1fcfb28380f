"""When a call's rankings have to be there: its own deadline, less a margin for the answer."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.config import ServerConfig
from sidecar.errors import DeadlineError
from sidecar.pipeline.deadline import Deadline
from sidecar.service.calls import Context
from sidecar.service.loop_lag import LoopLag

# Of the time that is left, what may be kept back because the machine is late.
MOST_LATE = 0.25
# What an answer costs the event loop: those of calls under way may all fall due together.
REPLY_SECONDS = 0.0005


class Deadlines:
    """When rankings have to be there for answers to be in time."""

    def __init__(
        self,
        config: ServerConfig,
        lag: LoopLag | None = None,
        calls_under_way: Callable[[], int] = lambda: 1,
    ) -> None:
        self._config = config
        self._lag = lag or LoopLag()
        self._calls_under_way = calls_under_way

    def of(self, context: Context, seconds: float | None = None) -> Deadline:
        """`seconds` (None: the configured default) from now, but always before the caller's own
        deadline, if it set one, by a margin: the configured one, as late as this machine is, and
        the time that the answers of the calls under way take.

        Raises DeadlineError if that is over.
        """
        remaining: float | None = context.time_remaining()
        if remaining is None:
            default = self._config.default_timeout_seconds
            return Deadline.after(default if seconds is None else seconds)
        late = self._lag.seconds + REPLY_SECONDS * (self._calls_under_way() - 1)
        margin = self._config.reply_margin_seconds + min(late, MOST_LATE * max(0.0, remaining))
        left = remaining - margin
        if left <= 0.0:
            raise DeadlineError(
                f"{1000.0 * max(0.0, remaining):.0f} ms were left, {1000.0 * margin:.0f} ms are "
                "kept back for the answer: allow more time"
            )
        return Deadline.after(left if seconds is None else min(left, seconds))
