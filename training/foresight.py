"""What a run would do with each of its steps, told without doing it (`run --dry-run`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.config import TrainingConfig
from training.stage import BEGUN, Step, key_of, read_manifest

KEPT = "done, kept"
TAKEN_UP = "was cut short, is taken up"
AGAIN = "done, but what it read has changed: again"
RUNS = "not done, runs"
AFTER_ANOTHER = "done, kept if what runs before it comes out the same"


def foreseen(
    steps: Sequence[Step], config: TrainingConfig, root: Path
) -> Iterator[tuple[Step, str]]:
    """Each step and what would become of it. Raises InputFileError for what a step reads and is
    not there, and for needs that are neither done nor among the steps."""
    running: set[str] = set()
    for step in steps:
        fate = _fate(step, config, root, running)
        if fate != KEPT:
            running.add(step.place)
        yield step, fate


def _fate(step: Step, config: TrainingConfig, root: Path, running: set[str]) -> str:
    done = read_manifest(root / step.place)
    if running.intersection(step.needs):
        return AFTER_ANOTHER if done else RUNS
    key = key_of(step, config, root)
    if done:
        return KEPT if done["key"] == key else AGAIN
    begun = root / step.place / BEGUN
    was_begun = begun.is_file() and json.loads(begun.read_text(encoding="utf-8"))["key"] == key
    return TAKEN_UP if was_begun else RUNS
