"""When what failed is tried again, each for itself: what fails does not hold the others back."""

from __future__ import annotations

import time


class Retry:
    """Of one task, and why it failed the last time. By one thread; others may read `failure`."""

    def __init__(self) -> None:
        self.failure = ""
        self._delay = 0.0
        self._moment = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it may be tried now."""
        return time.monotonic() >= self._moment

    @property
    def seconds_until_due(self) -> float:
        """0 if it may be tried now."""
        return max(0.0, self._moment - time.monotonic())

    def succeeded(self) -> None:
        """It is tried at once the next time, too."""
        self.failure, self._delay, self._moment = "", 0.0, 0.0

    def failed(self, error: Exception, max_seconds: float) -> None:
        """It is tried again after a second, and after a longer while each time, up to a most."""
        self.failure = str(error) or repr(error)
        self._delay = min(max_seconds, 2 * self._delay + 1.0)
        self._moment = time.monotonic() + self._delay
