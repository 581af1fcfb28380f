"""One of the processes that train together: python -m torch.distributed.run -m ... JOB.

The first of them says what is going on; figures, or an error that is meant for the caller, go into
files beside the job.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

from sidecar.errors import SidecarError
from training.fine_tuning.job import read_job, run_job
from training.fine_tuning.processes import end_processes, process_rank
from training.progress import Progress

FIGURES_FILE, FAILURE_FILE = "figures.json", "failure.json"


def main(path: Path) -> None:
    """Runs the job of a file."""
    job, events, stage = read_job(path)
    first = os.environ.get("RANK", "0") == "0"
    with open(os.devnull, "w") as nowhere:
        report = Progress(events, stage) if first else Progress(None, stage, nowhere)
        try:
            figures = run_job(job, report)
        except SidecarError as error:
            told = {"error": type(error).__name__, "message": error.message}
            (path.parent / FAILURE_FILE).write_text(json.dumps(told), encoding="utf-8")
            raise SystemExit(1) from error
        if process_rank() == 0:
            (path.parent / FIGURES_FILE).write_text(json.dumps(figures), encoding="utf-8")
        end_processes()


if __name__ == "__main__":
    # transformers knows the option by no other name; torch wants another from 2.13 on.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    main(Path(sys.argv[1]))
