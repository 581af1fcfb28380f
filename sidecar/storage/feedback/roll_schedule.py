"""Rolls a server's feedback log by the hour, in a process of its own that is started when due."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sidecar.config import FeedbackConfig
from sidecar.errors import StorageError
from sidecar.metrics import FEEDBACK_ROLLS
from sidecar.storage.feedback.journal import Journal
from sidecar.storage.feedback.roll import due

LOOK_SECONDS = 60.0
RETRY_SECONDS = 600.0
TIDY_SECONDS = 3600.0
# A clock that goes otherwise than time does by more than this was set.
MOST_DRIFT_SECONDS = 300.0
EVEN_SECONDS = 3600.0

_logger = logging.getLogger(__name__)


class EvenClock:
    """Tells whether the clock has gone evenly: while it has not, nothing may be removed for being
    old, since it may be the clock that is wrong."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._offset = wall() - monotonic()
        self._jumped: float | None = None

    def is_even(self) -> bool:
        """False for an hour after the clock was set by more than five minutes."""
        now = self._monotonic()
        offset = self._wall() - now
        if abs(offset - self._offset) > MOST_DRIFT_SECONDS:
            _logger.warning("the clock was set by %.0f s", offset - self._offset)
            self._jumped = now
        self._offset = offset
        return self._jumped is None or now - self._jumped > EVEN_SECONDS


@dataclass(slots=True)
class _Times:
    """When to roll again at the earliest, and when to tidy up though nothing is due."""

    next_try: float = 0.0
    next_tidy: float = 0.0


class Roller:
    """A thread that looks every minute whether something is due."""

    def __init__(self, folder: Path, config: FeedbackConfig) -> None:
        self._folder, self._config = folder, config
        self._journal = Journal(folder)
        self._clock = EvenClock()
        self._times = _Times()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="feedback-roller", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends what is being rolled, which the next start finishes. May be called twice."""
        self._stopping.set()
        with self._lock:
            if self._process is not None:
                self._process.terminate()
        self._thread.join()
        self._journal.close()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:
                _logger.exception("feedback cannot be rolled")

    def look(self) -> bool:
        """Rolls if something is due, or if old files have not been looked for within the hour; says
        whether it did. Not while the last failure is recent."""
        may_forget, now = self._clock.is_even(), time.monotonic()
        if now < self._times.next_try:
            return False
        if not self._is_due() and now < self._times.next_tidy:
            return False
        self._times.next_tidy = now + TIDY_SECONDS
        if not self._roll(may_forget):
            self._times.next_try = now + RETRY_SECONDS
        return True

    def _is_due(self) -> bool:
        try:
            return bool(due(self._journal.backlog(), time.time()))
        except StorageError as error:
            _logger.warning("%s", error.message)
            return False

    def _roll(self, may_forget: bool) -> bool:
        command = [sys.executable, "-m", "sidecar.storage.feedback.roll", str(self._folder)]
        if may_forget:
            command += ["--retention-days", str(self._config.retention_days)]
            command += ["--token-hours", str(self._config.token_hours)]
        said, code = self._call(command)
        FEEDBACK_ROLLS.labels("done" if code == 0 else "failed").inc()
        if code == 0:
            _logger.info("feedback: %s", said)
        elif not self._stopping.is_set():
            _logger.error("feedback cannot be rolled, it stays in the log: %s", said)
        return code == 0

    def _call(self, command: list[str]) -> tuple[str, int]:
        """What a process said last, and its exit code."""
        with self._lock:
            if self._stopping.is_set():
                return "stopped", 1
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        said, _ = self._process.communicate()
        lines = said.strip().splitlines()
        return (lines[-1] if lines else "it said nothing"), self._process.returncode
