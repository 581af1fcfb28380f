"""The threads of this process in which models load and compute, behind the event loop in priority.

Answers must leave in time while every core computes scores. On Linux a thread inherits its nice
value from the one that starts it, so what a runtime starts while it compiles in these threads
yields to the event loop, too.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

NICENESS = 5  # above the process's own: about a third of the weight where both want a core
# More than any lanes: a batch that was given up may hold its thread until its runtime has stopped.
_THREADS = 32


def yield_to_others() -> None:
    """Lowers this thread's priority where the system lets it; elsewhere nothing happens."""
    if sys.platform != "linux":  # elsewhere a thread has no nice value of its own
        return
    with contextlib.suppress(OSError):
        nice = os.getpriority(os.PRIO_PROCESS, os.getpid())
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, nice + NICENESS))


@functools.cache
def model_workers() -> ThreadPoolExecutor:
    """The one pool of this process. Its threads are started as they are needed."""
    return ThreadPoolExecutor(_THREADS, "model", initializer=yield_to_others)
