"""What a run says while it trains, and when it ends early."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.fine_tuning.arguments import METRIC, STANDING_METRIC, Schedule
from training.fine_tuning.measuring import DEV_MEASURE, is_surely_worse
from training.fine_tuning.memory import peak_megabytes
from training.progress import Progress, in_words

LOOK, STANDING = f"eval_{METRIC}", f"eval_{STANDING_METRIC}"


@dataclass(slots=True)
class Counted:
    """Of a whole run; checkpoints keep it. Seconds are those of steps, without looks at dev."""

    tokens: int = 0
    seconds: float = 0.0
    base_measure: float | None = None
    kept: int = 0  # looks that became the one whose weights stay
    best: list[float] = field(default_factory=list)  # by list, of the look with the highest mean

    def standing(self, values: Sequence[float]) -> float:
        """Of a look with these values: above all before it where none of them is surely better,
        so that its weights are kept; a half below the highest elsewhere."""
        if self.best and is_surely_worse(values, self.best):
            return self.kept - 0.5
        if math.fsum(values) > math.fsum(self.best):
            self.best = list(values)
        self.kept += 1
        return float(self.kept)


class Watched(Protocol):
    """What is said of a Trainer besides its state."""

    counted: Counted
    last_loss: float
    lr_scheduler: Any


def looks(history: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """(step, dev measure) of the looks in a Trainer's log, in order."""
    return [(int(each["step"]), float(each[LOOK])) for each in history if LOOK in each]


def is_over(state: TrainerState, schedule: Schedule, patience: int) -> bool:
    """Whether all steps are done, or `patience` looks in a row were surely worse than the best."""
    if state.global_step >= schedule.steps:
        return True
    standings = [each[STANDING] for each in state.log_history if STANDING in each]
    if not patience or not standings:
        return False
    return len(standings) - 1 - standings.index(max(standings)) >= patience


class Watch(TrainerCallback):
    """The live line and events of a run; asks for a last look, and for an end without patience."""

    def __init__(self, schedule: Schedule, patience: int, progress: Progress) -> None:
        self._schedule = schedule
        self._patience = patience
        self._progress = progress
        self._look_seconds = 0.0
        self._step_ended = math.nan
        self.trainer: Watched | None = None

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        self._step_ended = time.monotonic()
        self._progress.live(in_words(**self._told(state)))
        if state.global_step >= self._schedule.steps:
            control.should_evaluate = args.eval_strategy != "no"
            control.should_save = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any],
        **_: Any,
    ) -> None:
        if "loss" in logs:
            self._progress.event("step", **(self._told(state) | {"loss": logs["loss"]}))

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float],
        **_: Any,
    ) -> None:
        self._look_seconds = time.monotonic() - self._step_ended
        self._progress.event(
            "dev", step=state.global_step, measure=DEV_MEASURE, value=metrics[LOOK]
        )
        self._progress.live(in_words(**self._told(state)))
        if is_over(state, self._schedule, self._patience):
            control.should_training_stop = True

    def _told(self, state: TrainerState) -> dict[str, Any]:
        assert self.trainer is not None
        counted, values = self.trainer.counted, [value for _, value in looks(state.log_history)]
        dev = values[-1] if values else counted.base_measure
        scheduler = self.trainer.lr_scheduler
        return {
            "step": f"{state.global_step}/{self._schedule.steps}",
            "loss": self.trainer.last_loss,
            f"dev {DEV_MEASURE}": dev,
            "lr": f"{scheduler.get_last_lr()[0]:.2e}" if scheduler is not None else None,
            "tokens/s": round(counted.tokens / max(counted.seconds, 1e-9)),
            "peak MB": round(peak_megabytes()),
            "left": in_minutes(self._seconds_left(state)),
        }

    def _seconds_left(self, state: TrainerState) -> float:
        assert self.trainer is not None
        steps = self._schedule.steps - state.global_step
        looks_left = math.ceil(steps / self._schedule.between_looks) if self._look_seconds else 0
        a_step = self.trainer.counted.seconds / max(state.global_step, 1)
        return float(steps * a_step + looks_left * self._look_seconds)


def in_minutes(seconds: float) -> str:
    """ "2:05"."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"
