"""A stage's Work without a run around it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.progress import Progress
from training.stage import Work


def work_for(place: str, root: Path, config: TrainingConfig, needs: Iterable[str]) -> Work:
    """Of the stage in `root`/`place`; its needs lie in their places, or are left out."""
    model, _, _ = place.rpartition("/")
    out = root / place
    out.mkdir(parents=True, exist_ok=True)
    inputs = {need: root / need for need in needs if (root / need).is_dir()}
    return Work(config, model, out, inputs, Progress(None, place, io.StringIO()))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
