"""How a follower gives way to searches: small chunks while they come, each begun between them, and
no more documents a second than were asked for."""

from __future__ import annotations

import time
from collections.abc import Callable

from sidecar.models.foreground import Foreground, foreground

BUSY_SECONDS = 5.0
BUSY_DOCUMENTS = 64
IDLE_DOCUMENTS = 500
# Where requests never end, a chunk waits as long as the last one took, and at most so long.
MAX_WAIT_SECONDS = 1.0
# Between two looks at whether anybody still wants the work.
LOOK_SECONDS = 0.5


class Pace:
    """Of one follower. `documents_per_second` 0: as fast as it can."""

    def __init__(
        self,
        documents_per_second: int = 0,
        requests: Foreground | None = None,
        now: Callable[[], float] = time.monotonic,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = documents_per_second
        self._requests = requests or foreground()
        self._now = now
        self._rest = rest
        self._next = 0.0  # when the next chunk may begin, by the rate
        self._started = 0.0
        self._seconds = 0.0  # that the last chunk took

    def begin(self, look: Callable[[], None], ease: int = 1) -> int:
        """Waits for its turn, calling `look` now and then; returns how many documents may come, of
        which each takes an `ease`-th of what it takes to copy one."""
        look()
        while (left := self._next - self._now()) > 0.0:
            look()
            self._rest(min(left, LOOK_SECONDS))
        self._requests.wait_quiet(min(self._seconds, MAX_WAIT_SECONDS))
        self._started = self._now()
        is_busy = not self._requests.was_quiet_for(BUSY_SECONDS)
        most = ease * (BUSY_DOCUMENTS if is_busy else IDLE_DOCUMENTS)
        return max(1, min(most, self._rate)) if self._rate else most

    def end(self, documents: int) -> None:
        """So many came."""
        self._seconds = self._now() - self._started
        if self._rate:
            self._next = self._started + documents / self._rate
