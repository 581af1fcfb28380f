"""Lists of candidates in, a fine-tuned model out.

adapter -> dev measure of the base -> Trainer (resumed where a run was cut short)
-> the last checkpoint that no earlier one is surely better than on dev
-> the least share of the base's weights that none is surely better than
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, TrainerState, set_seed
from transformers.trainer import TRAINER_STATE_NAME

from training.config import FineTuneConfig
from training.fine_tuning.assembly import Assembled, assemble
from training.fine_tuning.checkpoints import newest_whole, remove_cut_short
from training.fine_tuning.measuring import DEV_MEASURE, is_surely_worse
from training.fine_tuning.memory import memory_kept, peak_megabytes
from training.fine_tuning.mixing import Weights, set_mixed, trained_weights
from training.fine_tuning.opening import Opened
from training.fine_tuning.preparing import prepared
from training.fine_tuning.processes import process_rank
from training.fine_tuning.quiet import quiet_libraries
from training.fine_tuning.watching import is_over, looks
from training.lists import TrainingList
from training.progress import Progress

History = dict[str, Any]
Shares = list[tuple[float, float]]  # of the base's weights, and the dev measure with so many


@dataclass(frozen=True, slots=True)
class Mixed:
    """What was tried, and the share of the base that was taken."""

    tried: Shares
    taken: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained model, with its adapter if it has one, in evaluation mode.

    `history`: "precision", "lists", "dev_lists", "steps", "base" (the dev measure before the first
    step), "looks" [[step, dev measure]], "losses" [[step, loss]], "best_step" (whose weights stay),
    "shares", "share" (the one taken), "measure" (with it), "changes" (of the means, see Passes),
    "tokens", "seconds" (of steps), "tokens_a_second", "peak_megabytes". Without dev lists measures
    are None, and the last weights stay.
    """

    model: PreTrainedModel
    history: History


def fit(
    opened: Opened,
    lists: Sequence[TrainingList],
    dev_lists: Sequence[TrainingList],
    passages: Mapping[str, str],
    config: FineTuneConfig,
    seed: int,
    folder: Path,
    report: Progress,
) -> Fitted:
    """Fine-tunes `opened.model` in place. `folder` holds checkpoints: called again with the same
    one, it goes on from the newest whole checkpoint, to the same weights.

    Of checkpoints the last stays that none before is surely better than on dev (measuring.py); the
    base itself is none, unless base_shares has a 1.

    Raises ConfigurationError: nothing to learn from, a method or precision that this machine does
    not have; InputFileError: a passage is missing; ModelError: the loss is no number, memory does
    not do for a single text.
    """
    set_seed(seed)
    with quiet_libraries(), memory_kept(), prepared(opened.model, config):
        run = assemble(opened, lists, dev_lists, passages, config, seed, folder, report)
        base = _weights_to_mix(run, config)
        _train(run, config, folder, report)
        _take_best(run, folder)
        mixed = _mix(run, base, config, report) if base else Mixed([], 0.0)
    model = run.trainer.accelerator.unwrap_model(run.trainer.model, keep_fp32_wrapper=False)
    return Fitted(model.eval(), _history(run, mixed))


def _train(run: Assembled, config: FineTuneConfig, folder: Path, report: Progress) -> None:
    trainer = run.trainer
    found = newest_whole(folder)
    if process_rank() == 0:
        remove_cut_short(folder)
    if found is None:
        if run.dev is not None:
            trainer.counted.base_measure = run.dev(trainer.model)
            report.event("dev", step=0, measure=DEV_MEASURE, value=trainer.counted.base_measure)
        trainer.train()
        return
    checkpoint, told = found
    trainer.take_up(told)
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    report.event("resumed", step=state.global_step)
    report.say(f"resumed at step {state.global_step} of {run.schedule.steps}")
    if is_over(state, run.schedule, config.patience) and not trainer.is_sharded:
        trainer.take_state(state, checkpoint)
    else:
        trainer.train(resume_from_checkpoint=str(checkpoint))


def _take_best(run: Assembled, folder: Path) -> None:
    """The weights of the checkpoint that stays, where dev lists could tell it."""
    state = run.trainer.state
    if state.best_global_step and state.best_global_step != state.global_step:
        run.trainer.load_checkpoint(folder / f"checkpoint-{state.best_global_step}")


def _weights_to_mix(run: Assembled, config: FineTuneConfig) -> Weights:
    """Of the base; empty where nothing will be mixed. A prefix has no base to go back to."""
    shares = any(share > 0 for share in config.base_shares)
    possible = run.dev is not None and config.method != "prefix" and not run.trainer.is_sharded
    return trained_weights(run.trainer.model) if shares and possible else {}


def _mix(run: Assembled, base: Weights, config: FineTuneConfig, report: Progress) -> Mixed:
    """Leaves in the model the least share of the base that none is surely better than."""
    assert run.dev is not None
    model, trained, tried = run.trainer.model, trained_weights(run.trainer.model), []
    values = {}
    for share in sorted({0.0, *config.base_shares}):
        set_mixed(model, trained, base, share)
        tried.append((share, run.dev(model)))
        values[share] = run.dev.values
        report.event("share", base_share=share, measure=DEV_MEASURE, value=tried[-1][1])
    taken = _least_share(tried, values)
    set_mixed(model, trained, base, taken)
    return Mixed(tried, taken)


def _least_share(tried: Shares, values: Mapping[float, Sequence[float]]) -> float:
    best, _ = max(tried, key=lambda each: (each[1], -each[0]))
    able = (share for share, _ in tried if not is_surely_worse(values[share], values[best]))
    return min((best, *able))


def _history(run: Assembled, mixed: Mixed) -> History:
    state, counted = run.trainer.state, run.trainer.counted
    seen = looks(state.log_history)
    best_step = state.best_global_step or state.global_step
    kept = dict(mixed.tried).get(mixed.taken) if mixed.tried else dict(seen).get(best_step)
    return {
        "precision": run.precision,
        "lists": run.lists,
        "dev_lists": run.dev.count if run.dev is not None else 0,
        "steps": state.global_step,
        "base": counted.base_measure,
        "looks": seen,
        "losses": [(e["step"], e["loss"]) for e in state.log_history if "loss" in e],
        "best_step": best_step,
        "shares": mixed.tried,
        "share": mixed.taken,
        "measure": kept,
        "changes": run.changes,
        "tokens": counted.tokens,
        "seconds": round(counted.seconds, 3),
        "tokens_a_second": round(counted.tokens / max(counted.seconds, 1e-9)),
        "peak_megabytes": round(peak_megabytes()),
    }
