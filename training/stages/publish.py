"""Brings a model that the gate accepted into the registry, and to where it serves.

gate's verdict -> a version with its lineage -> canary or production, by the sidecar that runs

A model that was refused is published nowhere. What happens to a canary then (promotion,
rollback, comparison) is the sidecar's: `sidecar models compare`, `promote`, `stop-canary`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidecar.errors import InputFileError
from training.models.production import served_folder
from training.models.spec import SPEC_FILE, read_spec
from training.progress import in_words
from training.run_files import PUBLISHED_FILE, VERDICT_FILE, write_json
from training.serving.models import ModelChange
from training.serving.publishing import (
    check_place,
    lineage_of,
    publish_once,
    registry_of,
    take_turn,
)
from training.stage import Stage, Work


def run(work: Work) -> Mapping[str, Any]:
    """Figures: the version and where it serves, or why nothing was published."""
    config, sidecar = work.config.publish, work.config.sidecar
    verdict = read_verdict(work.input("gate") / VERDICT_FILE)
    if verdict["verdict"] != "accepted":
        return {"published": "nothing", "why": f"the gate refused it: {verdict.get('reason', '')}"}
    if not config.registry:
        return {"published": "nothing", "why": "publish.registry names no registry"}
    name: str = getattr(config, work.model)
    if sidecar.address and config.to != "version":
        check_place(sidecar, work.config.fine_tune(work.model).role, name)
    registry = registry_of(config, work.scratch)
    folder = served_folder(work.input("export"))
    version = publish_once(registry, folder, name, lineage(work, verdict))
    work.progress.say(f"{name} {version.version} is in the registry")
    turn = take_turn(registry, version, config, sidecar, lambda change: tell(work, change))
    for warning in turn.warnings:
        work.progress.say(warning)
    told = {
        "model": name,
        "version": version.version,
        "revision": version.revision,
        "to": config.to,
        "phase": turn.phases[-1][0] if turn.phases else "",
        **dataclasses.asdict(turn),
    }
    write_json(work.out / PUBLISHED_FILE, told)
    return {"published": f"{name} {version.version}", "revision": version.revision, "to": config.to}


def lineage(work: Work, verdict: Mapping[str, Any]) -> dict[str, str]:
    """Where the model comes from; see `lineage_of`."""
    about = {"model": work.model, "verdict": verdict.get("reason", "")}
    trained = work.out.parent / "train" / "model"
    if (trained / SPEC_FILE).is_file():
        spec = read_spec(trained)
        about |= {"base": spec.base, "base_revision": spec.base_revision}
    return lineage_of(work.root, work.inputs, about)


def read_verdict(path: Path) -> dict[str, Any]:
    """What the gate wrote. Raises InputFileError."""
    try:
        verdict: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        verdict["verdict"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputFileError(str(path), None, f"is no verdict: {error}") from error
    return verdict


def tell(work: Work, change: ModelChange) -> None:
    """One line that is written over."""
    encoded = f"{change.done} of {change.total}" if change.total else None
    work.progress.live(in_words(phase=change.phase, documents=encoded), change.phase == "flipped")


STAGE = Stage(
    "publish",
    "brings an accepted model into the registry and the sidecar",
    run,
    sections=("publish", "sidecar"),
    needs=("export", "evaluate", "gate"),
)
