"""Training in several processes of this machine, by torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from sidecar.errors import ConfigurationError, ModelError, SidecarError
from training.fine_tuning.job import Job
from training.fine_tuning.worker import FAILURE_FILE, FIGURES_FILE

JOB_FILE = "job.json"
_ERRORS: dict[str, type[SidecarError]] = {
    "ConfigurationError": ConfigurationError,
    "InputFileError": ConfigurationError,  # its message says the file and the line already
    "ModelError": ModelError,
}


def run_in_processes(job: Job, count: int, events: Path | None, stage: str) -> dict[str, Any]:
    """What `run_job` gives. Raises what it raises, ModelError where a process died otherwise."""
    folder = job.scratch
    for name in (FAILURE_FILE, FIGURES_FILE):
        (folder / name).unlink(missing_ok=True)
    job.write(folder / JOB_FILE, events, stage)
    threads = str(max(1, (os.cpu_count() or count) // count))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    code = subprocess.run(_command(folder / JOB_FILE, count), env=environment).returncode
    if (folder / FAILURE_FILE).is_file():
        raise _to_error(json.loads((folder / FAILURE_FILE).read_text(encoding="utf-8")))
    if code:
        raise ModelError(f"one of {count} training processes ended with code {code}: see above")
    figures: dict[str, Any] = json.loads((folder / FIGURES_FILE).read_text(encoding="utf-8"))
    return figures


def _command(job: Path, count: int) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    return [sys.executable, *launcher, "-m", "training.fine_tuning.worker", str(job)]


def _to_error(told: dict[str, str]) -> SidecarError:
    return _ERRORS.get(told["error"], SidecarError)(told["message"])
