"""Starts milvus-lite's server: Milvus' interface, written anew in Python for tests and demos.

It shows what pymilvus accepts and how filters, writes and restarts go, not how Milvus itself
behaves under load, with several nodes or on a failing disk.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

STOP_SECONDS = 60.0


class MilvusLite:
    """One server, in a folder of its own, which outlives its process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts it; it serves once returned."""
        command = [sys.executable, "-u", "-m", "milvus_lite", "server"]
        command += ["--data-dir", str(self._folder / "data")]
        command += ["--host", "127.0.0.1", "--port", str(self._port)]
        if shutil.which("setpriv"):
            # Ends it when the tests are killed.
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "listening" in line, self.log()

    def kill(self) -> None:
        """SIGKILL: what it did not give to the system is lost."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Stops its threads: it takes connections and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        # On a busy machine it runs on for a moment.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Lets them go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        """The end of what it wrote."""
        return (self._folder / "log").read_text(errors="replace")[-8000:]

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(STOP_SECONDS)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None
