"""Writes a trained model as it is served: for the CPU path, and as everybody else reads it.

train's model, mine's (or teach's) dev lists -> onnx/, transformers/, parity.json, export.json
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.examples.places import there
from training.lists import Split, read_lists, read_passages
from training.run_files import LISTS_FILE, PASSAGES_FILE
from training.stage import Stage, Work, code_version, read_manifest

MOST_DEV_PAIRS = 4500  # drawn by the seed; two cores score some hundred a second, by both stages


def run(work: Work) -> Mapping[str, Any]:
    """Figures: which folder serves, its measure on dev, its weight, its parity."""
    # torch takes seconds to import: other stages do without it.
    from training.exporting.dev_pairs import DevPairs, telling_pairs
    from training.exporting.earlier_stage import open_trained, stage_before
    from training.exporting.export import Task, export

    section = work.config.fine_tune(work.model)
    opened = open_trained(work.input("train"), work.model)
    lists = list(read_lists(_lists(work), Split.DEV))
    random.Random(work.config.seed).shuffle(lists)
    passages = read_passages(work.input("mine") / PASSAGES_FILE)
    dev: DevPairs = telling_pairs(lists, passages).first(MOST_DEV_PAIRS)
    task = Task(
        opened=opened,
        name=getattr(work.config.publish, work.model),
        role=section.role,
        dev=dev,
        before=stage_before(work.config, section.role, work.out.parents[1] / "registry"),
        lineage=_lineage(work),
        config=work.config.export,
        seed=work.config.seed,
    )
    return export(task, work.out, work.scratch, work.progress.live)


def _lists(work: Work) -> Path:
    taught = work.config.fine_tune(work.model).teacher
    return work.input("teach" if taught else "mine") / LISTS_FILE


def _lineage(work: Work) -> dict[str, Any]:
    """Where the model comes from: for its contract and its card."""
    section = work.config.fine_tune(work.model)
    manifest = read_manifest(work.input("train")) or {}
    sources = Counter(
        str(each.source) for one in read_lists(_lists(work), Split.TRAIN) for each in one.candidates
    )
    return {
        "method": section.method,
        "loss": section.loss,
        "seed": work.config.seed,
        "code": " ".join(code_version().values()),
        "trained": manifest.get("began", ""),
        "data": manifest.get("key", ""),
        **{f"{source} candidates": count for source, count in sorted(sources.items())},
        **manifest.get("figures", {}),
    }


def _reads(config: TrainingConfig, model: str) -> tuple[Path, ...]:
    return there(config.sidecar.configuration)


STAGE = Stage(
    "export",
    "merges, writes the folders that serve, checks them",
    run,
    sections=("export", "{model}", "sidecar.configuration", "publish.registry", "publish.{model}"),
    needs=("train", "mine", "teach"),
    reads=_reads,
)
