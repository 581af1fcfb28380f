"""`sidecar serve` as a supervisor of processes meets it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from sidecar_process import environment

STOP_SECONDS = 30


def test_a_signal_is_heeded_while_the_models_are_measured(tmp_path: Path) -> None:
    """On a machine that is new to the models, that takes a minute."""
    command = [sys.executable, "-m", "sidecar", "serve", "--listen", "127.0.0.1:0"]
    command += ["--data", str(tmp_path / "data")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "trying runtimes" in line:
                break
        process.send_signal(signal.SIGTERM)
        output, log = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 0, log
    assert output == "", "it does not say that it serves"
    assert "stopped while loading" in log
