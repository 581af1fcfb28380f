"""Checkpoints of a run that was cut short: which is whole, and what it says.

transformers writes a checkpoint file by file; a mark that is written last, and put in its place at
once, tells a whole one from one that was cut short.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARK = "whole.json"
_NAME = re.compile(r"checkpoint-(\d+)\Z")


def mark_whole(checkpoint: Path, told: Mapping[str, Any]) -> None:
    """`told` is what else is to be known of it."""
    scratch = checkpoint / f"{MARK}.tmp"
    scratch.write_text(json.dumps(told) + "\n", encoding="utf-8")
    scratch.replace(checkpoint / MARK)


def newest_whole(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The whole checkpoint of the highest step, and what it was told; None: there is none."""
    numbers = {
        int(match[1]): path
        for path in folder.glob("checkpoint-*")
        if (match := _NAME.match(path.name))
    }
    for _, path in sorted(numbers.items(), reverse=True):
        if (path / MARK).is_file():
            told: dict[str, Any] = json.loads((path / MARK).read_text(encoding="utf-8"))
            return path, told
    return None


def remove_cut_short(folder: Path) -> None:
    """Those without a mark."""
    for path in folder.glob("checkpoint-*"):
        if _NAME.match(path.name) and not (path / MARK).is_file():
            shutil.rmtree(path, ignore_errors=True)
