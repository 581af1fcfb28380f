"""Where a run writes: its folder, and the registry."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sidecar.errors import SidecarError
from training.config import MODELS, TrainingConfig
from training.doctor.findings import Finding, fail, ok, warn
from training.doctor.model_size import checkpoint_bytes, read_size
from training.models.bases import base_of

GIB = 2.0**30


def look_at_places(config: TrainingConfig, root: Path) -> Iterator[Finding]:
    """Whether they can be written, and how much fits."""
    yield _look_at_folder("run", root)
    yield _look_at_disk(config, root)
    registry = config.publish.registry
    if not registry:
        yield warn("registry", "none: an accepted model stays in the run", "set publish.registry")
    elif "://" in registry:
        yield ok("registry", f"{registry} (written only when something is published)")
    else:
        yield _look_at_folder("registry", Path(registry))


def _look_at_folder(about: str, folder: Path) -> Finding:
    there = _nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return fail(about, f"{there} cannot be written: {error.strerror}", "give another folder")
    made = "" if folder.exists() else " (is made)"
    return ok(about, f"{folder}{made} can be written")


def _look_at_disk(config: TrainingConfig, root: Path) -> Finding:
    free, needed = shutil.disk_usage(_nearest(root)).free, _needed(config)
    told = f"about {needed / GIB:.1f} GiB for checkpoints and models, {free / GIB:.1f} GiB free"
    if needed > free:
        return fail("disk", told, "give --out on a larger disk, or fewer checkpoints")
    return ok("disk", told)


def _needed(config: TrainingConfig) -> float:
    """Of the models whose size is known."""
    total = 0.0
    for model in MODELS:
        section = config.fine_tune(model)
        if not section.train:
            continue
        try:
            total += checkpoint_bytes(read_size(base_of(config, model).folder), section)
        except SidecarError:
            continue
    return total


def _nearest(folder: Path) -> Path:
    """The folder, or the lowest one above it that exists."""
    folder = Path(os.path.abspath(folder))
    while not folder.is_dir():
        folder = folder.parent
    return folder
