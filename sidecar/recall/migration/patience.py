"""What is asked of a backend that may be away for a while: again and again, up to a point."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from sidecar.errors import TryLaterError

# A backend that is away for longer ends the migration, which goes on when it is asked for again.
PATIENCE_SECONDS = 60.0

T = TypeVar("T")


def patiently(call: Callable[[], T], end: float, look: Callable[[], None]) -> T:
    """What a call returns, made again while it is answered with "later", but not after `end` (by
    time.monotonic); `look` is called in between, and raises if nobody wants it any more.

    Raises TryLaterError, and what the call does.
    """
    while True:
        try:
            return call()
        except TryLaterError as error:
            if time.monotonic() + error.retry_seconds >= end:
                raise
            look()
            time.sleep(error.retry_seconds)
