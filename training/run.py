"""The stages of a run in order: which there are, and running them.

plan(config) -> steps; run_steps -> manifests; a refusal of the gate is no error
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sidecar.errors import ConfigurationError
from training.config import BI_ENCODER, MODELS, RERANKER, TrainingConfig
from training.examples.places import place_of
from training.progress import Progress
from training.stage import EVENTS, Step, run_step
from training.stages import SHARED, STAGES


def plan(config: TrainingConfig) -> list[Step]:
    """All steps of a run. Raises ConfigurationError where nothing would be learnt from."""
    collected = config.collect
    reads = [Path(given) for given in collected.judgments if given]
    reads += [each for given in collected.feedback if given for each in _of_feedback(Path(given))]
    if not reads:
        raise ConfigurationError(
            "nothing to learn from: name collect.feedback (the sidecar's log), collect.judgments "
            "(labelled examples), or both"
        )
    reads += [Path(collected.corpus)] if collected.corpus else []
    collect, propensity, label = SHARED
    steps = [
        Step(collect, "", (), tuple(outside(path) for path in reads)),
        Step(propensity, "", ("collect",), _files(config.propensity.file)),
        Step(label, "", ("collect", "propensity")),
    ]
    for model in MODELS:
        if config.fine_tune(model).train:
            steps += _steps_of(model, config)
    return steps


def outside(path: Path) -> Path:
    """The file or folder of "FOLDER:SPLIT" and "FORMAT=FILE"."""
    return place_of(str(path)).path


def _of_feedback(path: Path) -> list[Path]:
    """What is read of a feedback log: its database changes with every search, what was rolled
    does not."""
    rolled = [path / kind for kind in ("impressions", "events")]
    return [each for each in rolled if each.is_dir()] or [path]


def _steps_of(model: str, config: TrainingConfig) -> list[Step]:
    """The reranker comes second: its negatives are those of the bi-encoder that will serve."""
    recall: tuple[str, ...] = ()
    if model == RERANKER and config.bi_encoder.train:
        recall = (f"{BI_ENCODER}/export", f"{BI_ENCODER}/gate")
    taught = "teach" if config.fine_tune(model).teacher else "mine"
    judged = (outside(Path(config.evaluate.judged)),) if config.evaluate.judged else ()
    section, sidecar = config.fine_tune(model), _files(config.sidecar.configuration)
    base = _files(section.base)
    read = {
        "mine": (*base, *sidecar),
        "teach": _files(section.teacher),
        "train": (*base, *sidecar, *_files(section.deepspeed)),
        "export": sidecar,
        "evaluate": (*judged, *base, *sidecar),
    }
    needs: dict[str, tuple[str, ...]] = {
        "mine": ("collect", "label", *recall),
        "teach": (f"{model}/mine",),
        "train": tuple(dict.fromkeys((f"{model}/mine", f"{model}/{taught}"))),
        "export": tuple(dict.fromkeys((f"{model}/train", f"{model}/mine", f"{model}/{taught}"))),
        "evaluate": (
            "collect",
            "label",
            "propensity",
            f"{model}/train",
            f"{model}/export",
            *recall,
        ),
        "gate": (f"{model}/evaluate", f"{model}/export"),
        "publish": (f"{model}/export", f"{model}/evaluate", f"{model}/gate"),
    }
    return [
        Step(STAGES[name], model, needed, read.get(name, ()))
        for name, needed in needs.items()
        if name != "teach" or taught == "teach"
    ]


def _files(name: str) -> tuple[Path, ...]:
    """A file or folder, whose content may change under its name. A registry's versions do not, and
    which of them is production is looked up once negatives are mined anew."""
    return (Path(name),) if name and Path(name).exists() else ()


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
