"""Where runs are: in runs/NAME of NAME.toml, a smoke run in runs/NAME-smoke, or as --out says."""

from __future__ import annotations

from pathlib import Path

from training.stage import EVENTS

RUNS = Path("runs")
MOST_NAMED = 3


def folder_of(config: Path, smoke: bool = False) -> Path:
    """Of the run of a TOML file that is given no other."""
    return RUNS / (f"{config.stem}-smoke" if smoke else config.stem)


def has_run(root: Path) -> bool:
    """Whether one has begun there."""
    return (root / EVENTS).is_file()


def where_else(root: Path) -> str:
    """What to do where `root` holds no run: other runs beside it, those named like it first."""
    beside = [file.parent for file in root.absolute().parent.glob(f"*/{EVENTS}")]
    beside.sort(key=lambda each: (not each.name.startswith(root.name), each.name))
    named = ", ".join(str(root.parent / each.name) for each in beside[:MOST_NAMED])
    there = f"there is one in {named}: give --out FOLDER, or " if named else ""
    return f"no run has begun there: {there}begin one with `sidecar-train run`"
