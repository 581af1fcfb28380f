"""The parts of a run put together: objective, passes, dev measure, model, Trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from training.config import FineTuneConfig
from training.fine_tuning.adapters import with_adapter
from training.fine_tuning.arguments import (
    Schedule,
    highest_rate,
    launched_processes,
    schedule_of,
    training_arguments,
)
from training.fine_tuning.collator import (
    Collator,
    Lists,
    NumberedPassages,
    PairCollator,
    TextCollator,
    check_lists,
)
from training.fine_tuning.measuring import DevMeasure, telling_lists
from training.fine_tuning.objectives import Objective, pair_objective, vector_objective
from training.fine_tuning.opening import Opened
from training.fine_tuning.passes import Passes, Represent
from training.fine_tuning.precision import resolve_precision
from training.fine_tuning.reading import PairReader, TextReader
from training.fine_tuning.trainer import ListTrainer
from training.fine_tuning.watching import Watch
from training.lists import TrainingList
from training.models.spec import ModelSpec
from training.progress import Progress


@dataclass(frozen=True, slots=True)
class Assembled:
    """A run that can begin. `dev` None: there are no dev lists that say anything."""

    trainer: ListTrainer
    dev: DevMeasure | None
    schedule: Schedule
    precision: str
    lists: int
    changes: list[str] = field(default_factory=list)


def assemble(
    opened: Opened,
    lists: Sequence[TrainingList],
    dev_lists: Sequence[TrainingList],
    passages: Mapping[str, str],
    config: FineTuneConfig,
    seed: int,
    folder: Path,
    report: Progress,
) -> Assembled:
    """Raises what `fit` raises before the first step."""
    objective = _objective(config, opened.spec)
    told = Lists([one for one in lists if objective.tells(one)], seed)
    check_lists(told, config.loss)
    on_gpu = torch.cuda.is_available()
    precision = resolve_precision(config.precision, torch.device("cuda" if on_gpu else "cpu"))
    schedule = schedule_of(config, len(told), launched_processes())
    dev_lists = telling_lists(dev_lists)
    rate = highest_rate(config, opened.spec.kind, opened.model.num_parameters())
    arguments = training_arguments(
        config, rate, schedule, folder, seed, precision, on_gpu, has_dev=bool(dev_lists)
    )
    collator = _collator(opened, NumberedPassages.of([*told, *dev_lists], passages))
    represent = Represent(opened.tokenizer, opened.spec, precision, arguments.device)
    changes: list[str] = []

    def changed(sentence: str) -> None:
        changes.append(sentence)
        report.event("memory", change=sentence)
        report.say(sentence)

    passes = Passes(represent, objective, config, changed)
    sharded = bool(config.fsdp or config.deepspeed)
    dev = DevMeasure(dev_lists, collator, passes, sharded) if dev_lists else None
    watch = Watch(schedule, config.patience, report)
    trainer = ListTrainer(
        with_adapter(opened.model, config, opened.spec.kind),
        arguments,
        told,
        collator,
        passes,
        dev,
        watch,
    )
    return Assembled(trainer, dev, schedule, precision, len(told), changes)


def _objective(config: FineTuneConfig, spec: ModelSpec) -> Objective:
    if spec.kind == "cross-encoder":
        return pair_objective(config)
    return vector_objective(config, cosine=spec.normalize)


def _collator(opened: Opened, known: NumberedPassages) -> Collator:
    if opened.spec.kind == "cross-encoder":
        return PairCollator(PairReader(opened.tokenizer, opened.spec), known)
    return TextCollator(TextReader(opened.tokenizer, opened.spec), known)
