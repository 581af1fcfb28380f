"""What a system made of queries (a run, as TREC calls it), as values and as a file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

Rankings = dict[str, list[str]]  # query id -> document ids, best first
Scores = dict[str, dict[str, float]]  # query id -> document id -> a model's score


@dataclass(slots=True)
class SystemRun:
    """What a system made of queries: `rankings` by stage, as long as it serves them; the `scores`
    that the model of one role gave; `missed`: about stages without which answers lack something."""

    rankings: dict[str, Rankings]
    scores: Scores
    models: dict[str, str] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    failed: int = 0


def write_run(run: SystemRun, path: Path) -> None:
    """Replaced whole: what is there is complete."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(dataclasses.asdict(run)), encoding="utf-8")
    scratch.replace(path)


def read_run(path: Path) -> SystemRun:
    return SystemRun(**json.loads(path.read_text(encoding="utf-8")))
