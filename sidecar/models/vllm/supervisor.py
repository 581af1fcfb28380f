"""vLLM servers of this sidecar's own: started, kept alive, and ended with it.

start -> /health -> kept: a server that
dies is started again on the same port, after a delay that doubles -> SIGTERM, then SIGKILL.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from sidecar.errors import ModelError
from sidecar.metrics import SERVER_RESTARTS
from sidecar.models.vllm.launch import Launch

LEASH = Path(__file__).with_name("leash.py")
_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 1.0, 60.0
_STABLE_SECONDS = 300.0  # a server that lived so long is started again without further delay
_POLL_SECONDS = 0.5
_KEPT_LINES, _LAST_LINES, _FIRST_ERRORS = 500, 15, 5
_ERROR = re.compile(r"\b[A-Z]\w*(Error|Exception): ")
_ABSENT = re.compile(r"No module named '?vllm\b")
_KILL_SECONDS = 10.0
_HEALTH_SECONDS = 5.0
_log = logging.getLogger(__name__)


class SupervisedServer:
    """One server. A thread of its own starts it, forwards its log and starts it again."""

    def __init__(self, launch: Launch, stop_seconds: float) -> None:
        self._launch = launch
        self._stop_seconds = stop_seconds
        self._stopping = threading.Event()
        self._ended = threading.Event()  # set while no process runs
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        name = f"vllm server {launch.model}"
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)

    @property
    def process_id(self) -> int | None:
        """Of the guard, which leads the server's process group; None before the start."""
        return None if self._process is None else self._process.pid

    def start(self, seconds: float) -> None:
        """Starts it, waits until it is healthy. Raises ModelError if it ends, or takes longer."""
        _log.info("starting vLLM for %s: %s", self._launch.model, " ".join(self._launch.command))
        started = time.monotonic()
        self._thread.start()
        while not self._is_healthy():
            if self._ended.wait(_POLL_SECONDS):
                raise ModelError(self._last_words("ended"))
            if time.monotonic() - started > seconds:
                raise ModelError(self._last_words(f"is not up after {seconds:g} s"))
        _log.info("%s is up after %.0f s", self._launch.model, time.monotonic() - started)

    def stop(self) -> None:
        """Ends it: SIGTERM, after `stop_seconds` SIGKILL. Returns when it is gone."""
        with self._lock:
            self._stopping.set()
            process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            if not self._ended.wait(self._stop_seconds + _KILL_SECONDS):
                _kill_group(process)
        if self._thread.is_alive():
            self._thread.join()

    def _keep(self) -> None:
        delay = _FIRST_DELAY_SECONDS
        while not self._stopping.is_set():
            started = time.monotonic()
            self._run_once()
            if self._stopping.is_set():
                return
            lived = time.monotonic() - started
            delay = _FIRST_DELAY_SECONDS if lived > _STABLE_SECONDS else delay
            _log.error("%s; starting it again in %g s", self._last_words("ended"), delay)
            self._stopping.wait(delay)
            delay = min(2 * delay, _LONGEST_DELAY_SECONDS)
            SERVER_RESTARTS.labels(self._launch.model).inc()

    def _run_once(self) -> None:
        """One process from its start to its end, its log forwarded."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._process = process = self._spawn()
            self._ended.clear()
        log = threading.Thread(target=self._forward_log, args=(process,), daemon=True)
        log.start()
        # It stays a zombie until its group is dead: a guard that was killed left its own behind,
        # and the group's number cannot be another's.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        _kill_group(process)
        process.wait()
        log.join()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        self._ended.set()

    def _forward_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.append(line.rstrip())
            _log.info("%s: %s", self._launch.model, line.rstrip())

    def _spawn(self) -> subprocess.Popen[str]:
        leash = (sys.executable, "-P", str(LEASH), str(self._stop_seconds))
        return subprocess.Popen(
            [*leash, *self._launch.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(self._launch.environment),
            cwd="/",
            start_new_session=True,
            text=True,
            errors="replace",
        )

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._launch.url}/health", timeout=_HEALTH_SECONDS):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def _last_words(self, what: str) -> str:
        """With the first errors of its log, since what follows from them fills many lines."""
        kept = list(self._lines)
        if any(_ABSENT.search(line) for line in kept):
            python = self._launch.command[0]
            return (
                f"vLLM for {self._launch.model} {what}: {python} has no vLLM: run "
                "`make install-gpu`, or give vllm.python another interpreter"
            )
        errors = [line for line in kept[:-_LAST_LINES] if _ERROR.search(line)][:_FIRST_ERRORS]
        lines = "\n".join([*errors, *kept[-_LAST_LINES:]])
        return f"vLLM for {self._launch.model} {what}; its first errors and last lines:\n{lines}"


def _kill_group(process: subprocess.Popen[str]) -> None:
    """Kills what is left of the session that a process led."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
