"""`runtimes.json` beside the data: what was chosen on this CPU for this model, and why.

Keyed by everything that could change the result: CPU, threads, model revision, library versions and
what the configuration asks for. Damaged or foreign content counts as nothing kept.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from pathlib import Path
from typing import Any

import onnxruntime
import openvino

from sidecar.config import RuntimeConfig
from sidecar.errors import StorageError
from sidecar.models.contract import ModelContract
from sidecar.models.machine import Machine
from sidecar.models.runtime import Choice
from sidecar.models.runtime_choice import RuntimeChoice, TrialRow

CHOICE_FILE = "runtimes.json"
_TRIAL = 3  # counted up when choices are made by another measure
_LOCK = threading.Lock()  # models may be loaded side by side


def choice_key(machine: Machine, contract: ModelContract, config: RuntimeConfig) -> str:
    """What a choice depends on, readable."""
    versions = (
        f"openvino {openvino.__version__.split('-')[0]}, onnxruntime {onnxruntime.__version__}"
    )
    asked = f"{config.runtime}/{config.precision}, tolerance {config.score_tolerance:g}"
    threads = config.threads or machine.threads
    model = f"{contract.kind} {contract.name}@{contract.revision}"
    head = f"{machine.name}, {threads} threads | {model}"
    return f"{head} | {versions} | {asked} | trial {_TRIAL}"


def read_choice(data_dir: Path, key: str) -> RuntimeChoice | None:
    """What was kept under the key, None if there is nothing readable."""
    try:
        return _from_json(_read(data_dir)[key])
    except (KeyError, TypeError, ValueError):
        return None


def keep_choice(data_dir: Path, key: str, kept: RuntimeChoice) -> None:
    """Adds or replaces one entry; the file is replaced whole. Raises StorageError."""
    path = data_dir / CHOICE_FILE
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    with _LOCK:
        entries = {**_read(data_dir), key: dataclasses.asdict(kept)}
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            scratch.write_text(json.dumps(entries, indent=1, ensure_ascii=False), encoding="utf-8")
            os.replace(scratch, path)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}") from error


def _read(data_dir: Path) -> dict[str, Any]:
    try:
        entries = json.loads((data_dir / CHOICE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _from_json(entry: dict[str, Any]) -> RuntimeChoice:
    return RuntimeChoice(
        choice=Choice(**entry["choice"]),
        golden_scores=tuple(float(score) for score in entry["golden_scores"]),
        spread=float(entry["spread"]),
        batch_invariant=bool(entry["batch_invariant"]),
        rows=tuple(TrialRow(**row) for row in entry["rows"]),
    )
