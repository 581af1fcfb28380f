"""The stages of a run in order: which there are, and running them.

plan(config) -> steps; run_steps -> manifests; a refusal of the gate is no error
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sidecar.errors import ConfigurationError
from training.config import MODELS, TrainingConfig
from training.progress import Progress
from training.stage import EVENTS, Stage, Step, part_of, run_step
from training.stages import PER_MODEL, SHARED


def plan(config: TrainingConfig) -> list[Step]:
    """All steps of a run. Raises ConfigurationError where nothing would be learnt from."""
    steps: list[Step] = []
    for stage, model in _asked_for(config):
        steps.append(_step(stage, model, config, {step.place for step in steps}))
    return steps


def _asked_for(config: TrainingConfig) -> Iterator[tuple[Stage, str]]:
    """Stages and their models, in order."""
    yield from ((stage, "") for stage in SHARED)
    for model in MODELS:
        if config.fine_tune(model).train:
            for stage in PER_MODEL:
                if not stage.only_with or part_of(config, stage.only_with, model):
                    yield stage, model


def _step(stage: Stage, model: str, config: TrainingConfig, before: AbstractSet[str]) -> Step:
    """Given the places of the steps before it."""
    named = (place for need in stage.needs for place in (f"{model}/{need}", need))
    needs = tuple(dict.fromkeys(place for place in named if place in before))
    return Step(stage, model, needs, tuple(stage.reads(config, model)))


def run_steps(steps: Sequence[Step], config: TrainingConfig, root: Path) -> list[dict[str, Any]]:
    """Runs them one after another, those that are done not again; their manifests."""
    with _alone(root):
        return [run_step(step, config, root, Progress(root / EVENTS, step.place)) for step in steps]


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """No second process runs in the folder. Raises ConfigurationError if one does."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"{root}: another process runs there; give --out") from None
        yield
