"""transformers' Trainer over lists of candidates: DDP, FSDP, DeepSpeed, schedules and checkpoints
are its own; steps, the dev measure and what a resumed run needs besides are here.

The model that it holds is the plain PreTrainedModel or PeftModel, so that checkpoints load anywhere
without a change of names: scoring and pooling live in `Passes`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import DistributedType
from torch import Tensor, nn
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerState, TrainingArguments

from sidecar.errors import ModelError
from training.fine_tuning.arguments import METRIC, STANDING_METRIC
from training.fine_tuning.checkpoints import mark_whole
from training.fine_tuning.collator import Collator, ListBatch, Lists
from training.fine_tuning.measuring import DevMeasure
from training.fine_tuning.passes import Means, Passes, Sending
from training.fine_tuning.processes import process_count, summed
from training.fine_tuning.watching import Counted, Watch


class ListTrainer(Trainer):
    """One update is the mean over all lists of `accumulation` batches of all processes."""

    control: Any

    def __init__(
        self,
        model: PreTrainedModel,
        arguments: TrainingArguments,
        lists: Lists,
        collator: Collator,
        passes: Passes,
        dev: DevMeasure | None,
        watch: Watch,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            data_collator=collator,
            train_dataset=lists,
            eval_dataset=[] if dev else None,
            callbacks=[watch],
        )
        self.remove_callback(PrinterCallback)
        self.passes = passes
        self.dev = dev
        self.counted = Counted()
        self.last_loss = math.nan  # of the newest update
        watch.trainer = self

    # -- a step

    def get_batch_samples(
        self, epoch_iterator: Iterator[ListBatch], num_batches: int, device: torch.device
    ) -> tuple[list[ListBatch], float]:
        """The batches of an update, and how many its loss is a mean over."""
        batches = list(itertools.islice(epoch_iterator, num_batches))
        terms = sum(self.passes.objective.terms(batch.targets) for batch in batches)
        self.last_loss = 0.0
        return batches, summed(terms, device)

    def training_step(
        self, model: nn.Module, inputs: ListBatch, num_items_in_batch: float | None = None
    ) -> Tensor:
        """The batch's part of the update's loss. Raises ModelError when it is no number."""
        started = time.monotonic()
        model.train()
        device, count = inputs.targets.groups.device, process_count()
        terms: float = self.passes.objective.terms(inputs.targets)
        gathers = self.passes.objective.gathers
        if gathers:
            terms = summed(terms, device)
        share = terms / max(num_items_in_batch or 0, 1)
        # Gradients are averaged over processes, so what each adds counts so many times.
        loss = self.passes.step(model, inputs, share * count, self._sending(model))
        loss = loss * (share if gathers else share * count)
        self._check_number(loss)
        self.last_loss += float(loss)
        self.counted.seconds += time.monotonic() - started
        self.counted.tokens += sum(len(text.ids) for side in inputs.sides for text in side)
        return loss

    def _sending(self, model: nn.Module) -> Sending:
        sharded, several = self.is_sharded, process_count() > 1
        scaler = getattr(self.accelerator, "scaler", None)
        options: dict[str, Any] = {}
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED:
            options["scale_wrt_gas"] = False
        return Sending(
            backward=functools.partial(self.accelerator.backward, **options),
            scale=scaler.scale if scaler is not None else lambda loss: loss,
            no_sync=functools.partial(self.accelerator.no_sync, model=model),
            whole=sharded,
            several=several,
            retries=not (sharded or several),
        )

    @property
    def is_sharded(self) -> bool:
        """Whether each process holds a part of the weights."""
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def _check_number(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise ModelError(
                f"the loss of step {self.state.global_step + 1} is {float(loss)}: lower the "
                "learning rate, or set precision = fp32"
            )

    def floating_point_ops(self, inputs: ListBatch) -> int:
        """Not counted."""
        return 0

    # -- the dev lists

    def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
        """The dev measure of the model as it is."""
        assert self.dev is not None
        metrics = {f"eval_{METRIC}": self.dev(self.model)}
        metrics[f"eval_{STANDING_METRIC}"] = self.counted.standing(self.dev.values)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    # -- checkpoints

    def told(self) -> dict[str, Any]:
        """What a resumed run needs besides what transformers keeps."""
        return {
            "means": dataclasses.asdict(self.passes.means),
            "counted": dataclasses.asdict(self.counted),
        }

    def take_up(self, told: dict[str, Any]) -> None:
        """What `told` gave."""
        self.passes.means = Means(**told["means"])
        self.counted = Counted(**told["counted"])

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if process_count() > 1:
            dist.barrier()  # others write their part of it, too
        if self.args.should_save:
            mark_whole(
                Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}", self.told()
            )

    def load_checkpoint(self, checkpoint: Path) -> None:
        """The model's weights."""
        self.state.best_model_checkpoint = str(checkpoint)
        self._load_best_model()

    def take_state(self, state: TrainerState, checkpoint: Path) -> None:
        """That of a run that was over when the checkpoint was written, with its weights."""
        self.state = state
        self._load_from_checkpoint(str(checkpoint))
