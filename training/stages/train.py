"""Fine-tunes a model on mined lists, with a teacher's scores where there is one.

mine's passages, mine's or teach's lists -> model/ (plain, whatever the method), adapter/,
history.json
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.examples.places import there
from training.stage import Stage, Work


def run(work: Work) -> Mapping[str, Any]:
    """Figures: the base, the dev measure before and after, speed and memory."""
    # torch takes seconds to import: other stages do without it.
    from training.fine_tuning.job import Job, run_job
    from training.fine_tuning.launching import run_in_processes

    section = work.config.fine_tune(work.model)
    job = Job(
        config=work.config,
        model=work.model,
        lists=work.input("teach" if section.teacher else "mine"),
        passages=work.input("mine"),
        out=work.out,
        scratch=work.scratch,
    )
    if section.processes > 1:
        place = f"{work.model}/train"
        return run_in_processes(job, section.processes, work.progress.events, place)
    return run_job(job, work.progress)


def _reads(config: TrainingConfig, model: str) -> tuple[Path, ...]:
    section = config.fine_tune(model)
    return there(section.base) + there(config.sidecar.configuration) + there(section.deepspeed)


STAGE = Stage(
    "train",
    "fine-tunes",
    run,
    sections=("{model}", "publish.registry", "publish.{model}"),
    needs=("mine", "teach"),
    reads=_reads,
)
