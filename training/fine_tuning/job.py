"""What the stage train asks for, in this process or in several: files in, a trained model out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel

from sidecar.typed_toml import with_values
from training.config import TrainingConfig, to_tree
from training.fine_tuning.adapters import has_prefix, merged, save_adapter, without_prefix
from training.fine_tuning.fit import Fitted, History, fit
from training.fine_tuning.opening import Opened, open_configured
from training.fine_tuning.processes import process_rank
from training.fine_tuning.quiet import quiet_libraries
from training.lists import Split, read_lists, read_passages
from training.models.spec import ModelSpec, write_spec
from training.progress import Progress
from training.run_files import HISTORY_FILE, LISTS_FILE, PASSAGES_FILE

MODEL, ADAPTER = "model", "adapter"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True)
class Job:
    """`lists` and `passages`: folders with lists.jsonl and passages.jsonl; `scratch` keeps what a
    run that was cut short goes on from."""

    config: TrainingConfig
    model: str
    lists: Path
    passages: Path
    out: Path
    scratch: Path

    def write(self, path: Path, events: Path | None, stage: str) -> None:
        """For `read_job`, in another process."""
        names = (each.name for each in dataclasses.fields(self))
        tree: dict[str, Any] = {name: str(getattr(self, name)) for name in names}
        tree |= {"config": to_tree(self.config), "events": events and str(events), "stage": stage}
        path.write_text(json.dumps(tree), encoding="utf-8")


def read_job(path: Path) -> tuple[Job, Path | None, str]:
    """A job, where its events go and what its stage is called."""
    tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    config = with_values(TrainingConfig(), tree["config"])
    folders = (Path(tree[name]) for name in ("lists", "passages", "out", "scratch"))
    events = Path(tree["events"]) if tree["events"] else None
    return Job(config, tree["model"], *folders), events, tree["stage"]


def run_job(job: Job, report: Progress) -> dict[str, Any]:
    """Trains and writes `out`; figures. Raises what `open_base` and `fit` raise."""
    opened = open_configured(job.config, job.model)
    fitted = fit(
        opened,
        list(read_lists(job.lists / LISTS_FILE, Split.TRAIN)),
        list(read_lists(job.lists / LISTS_FILE, Split.DEV)),
        read_passages(job.passages / PASSAGES_FILE),
        job.config.fine_tune(job.model),
        job.config.seed,
        job.scratch / CHECKPOINTS,
        report,
    )
    if process_rank() == 0:
        write_trained(fitted, opened, job.out)
    return figures_of(fitted.history, opened.spec)


@quiet_libraries()
def write_trained(fitted: Fitted, opened: Opened, out: Path) -> None:
    """adapter/ (of a model that has one), model/ (whole and plain) and history.json.

    A prefix is no weight, so its model/ is the base with the trained head; it counts with adapter/.
    """
    model = fitted.model
    if isinstance(model, PeftModel):
        save_adapter(model, out / ADAPTER)
    plain = without_prefix(model) if has_prefix(model) else merged(model)
    plain.save_pretrained(out / MODEL)
    opened.tokenizer.save_pretrained(out / MODEL)
    write_spec(opened.spec, out / MODEL)
    text = json.dumps(fitted.history, indent=1)
    (out / HISTORY_FILE).write_text(text + "\n", encoding="utf-8")


def figures_of(history: History, spec: ModelSpec) -> dict[str, Any]:
    """Of the run, in one line."""
    chosen: Mapping[str, str] = {
        "lists": "lists",
        "steps": "steps",
        "best_step": "best_step",
        "dev_before": "base",
        "dev_after": "measure",
        "base_share": "share",
        "precision": "precision",
        "tokens_a_second": "tokens_a_second",
        "peak_megabytes": "peak_megabytes",
    }
    figures = {name: history[key] for name, key in chosen.items()}
    return {"base": spec.base, "base_revision": spec.base_revision, **figures}
