"""Runs a command and sees to it that it never outlives whoever holds this program's standard input.

    python guard.py STOP_SECONDS COMMAND...

When standard input ends, which a killed parent cannot prevent, the command is told to end (SIGTERM)
and after STOP_SECONDS killed. With the command goes its process group, so that no worker of it is
left holding a GPU: told to end, too, and killed after GRACE_SECONDS (one of them removes shared
memory). Imports nothing but the standard library: any interpreter runs it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

GRACE_SECONDS = 4.0
_POLL_SECONDS = 0.02


def main(arguments: list[str]) -> None:
    """Returns never: the group, this process included, is killed at the end."""
    stop_seconds, command = float(arguments[0]), arguments[1:]
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")
    threading.Thread(target=_end_with_parent, args=(child, stop_seconds), daemon=True).start()
    status = child.wait()
    with contextlib.suppress(OSError):  # nobody may be left to read it
        print(f"ended with status {status}", file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    end = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < end and _has_company():
        time.sleep(_POLL_SECONDS)
    os.killpg(0, signal.SIGKILL)


def _has_company() -> bool:
    """Whether others are left in this process group (without /proc: they may be)."""
    own = str(os.getpgrp())
    members = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # pid (name) state parent group ...; the name may hold anything
            members += stat.read_text().rpartition(")")[2].split()[2] == own
    return members != 1


def _end_with_parent(child: subprocess.Popen[bytes], stop_seconds: float) -> None:
    sys.stdin.buffer.read()
    child.terminate()
    try:
        child.wait(stop_seconds)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    main(sys.argv[1:])
