"""The configuration in transformers' words: TrainingArguments."""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from training.config import BY_SIZE, FineTuneConfig

METRIC = "dev_ndcg"
STANDING_METRIC = "dev_standing"  # which look it is whose weights stay (watching.Counted)
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
_LOGGED = 50  # times a run
SMALL_PARAMETERS = 50_000_000
# Measured on 22 million weights and some thousand lists; the others are what papers begin with.
SMALL_RATES = {"bi-encoder": 1e-4, "cross-encoder": 5e-5}
LARGE_RATE, ADAPTER_RATE = 2e-5, 2e-4


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps (updates) of a run, and of those between two looks at the dev lists."""

    steps: int
    between_looks: int


def schedule_of(config: FineTuneConfig, lists: int, processes: int) -> Schedule:
    """For so many lists."""
    batches = math.ceil(lists / (config.lists_per_step * processes))
    an_epoch = math.ceil(batches / config.accumulation)
    steps = max(1, math.ceil(config.epochs * an_epoch))
    if config.max_steps:
        steps = min(steps, config.max_steps)
    return Schedule(steps, max(1, math.ceil(steps / max(1, config.evaluations))))


def highest_rate(config: FineTuneConfig, kind: str, parameters: int) -> float:
    """The learning rate, by the base's size where none is given."""
    if config.learning_rate != BY_SIZE:
        return config.learning_rate
    if config.method != "full":
        return ADAPTER_RATE
    return SMALL_RATES[kind] if parameters <= SMALL_PARAMETERS else LARGE_RATE


def training_arguments(
    config: FineTuneConfig,
    learning_rate: float,
    schedule: Schedule,
    folder: Path,
    seed: int,
    precision: str,
    on_gpu: bool,
    has_dev: bool,
) -> TrainingArguments:
    """Nothing is printed or sent anywhere by transformers itself."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=config.lists_per_step,
        gradient_accumulation_steps=config.accumulation,
        max_steps=schedule.steps,
        learning_rate=learning_rate,
        lr_scheduler_type=_SCHEDULES[config.schedule],
        warmup_steps=round(config.warmup_share * schedule.steps),
        weight_decay=config.weight_decay,
        max_grad_norm=config.most_gradient_norm,
        seed=seed,
        data_seed=seed,
        logging_steps=max(1, schedule.steps // _LOGGED),
        logging_nan_inf_filter=False,
        eval_strategy="steps" if has_dev else "no",
        eval_steps=schedule.between_looks,
        metric_for_best_model=f"eval_{STANDING_METRIC}" if has_dev else None,
        greater_is_better=True if has_dev else None,
        save_strategy="steps",
        save_steps=schedule.between_looks,
        save_total_limit=max(1, config.checkpoints) + 1,
        remove_unused_columns=False,
        dataloader_num_workers=config.workers,
        dataloader_pin_memory=on_gpu,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
        **_of_device(precision, on_gpu),
        **_of_sharding(config),
        **_of_checkpointing(config),
    )
    # A process trains on one GPU: several would be copied to by DataParallel.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _of_device(precision: str, on_gpu: bool) -> dict[str, Any]:
    """A CPU's precision is entered by Represent alone."""
    # Buffers are constants, and processes may make unlike many passes.
    usual = {"ddp_broadcast_buffers": False}
    if on_gpu:
        return {**usual, "bf16": precision == "bf16", "fp16": precision == "fp16"}
    several = {"ddp_backend": "gloo"} if launched_processes() > 1 else {}
    return {**usual, "use_cpu": True, **several}


def launched_processes() -> int:
    """How many torchrun has started, as this one was told; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _of_sharding(config: FineTuneConfig) -> dict[str, Any]:
    given = {"deepspeed": config.deepspeed, "fsdp": config.fsdp}
    return {name: value for name, value in given.items() if value}


def _of_checkpointing(config: FineTuneConfig) -> dict[str, Any]:
    """transformers 5.10 or so calls it activation checkpointing, before it was gradient's."""
    if not config.checkpointing:
        return {}
    known = {each.name for each in dataclasses.fields(TrainingArguments)}
    name = "activation" if "activation_checkpointing" in known else "gradient"
    return {
        f"{name}_checkpointing": True,
        f"{name}_checkpointing_kwargs": {"use_reentrant": False},
    }
