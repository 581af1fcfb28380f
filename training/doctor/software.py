"""Packages, versions, and what training computes on."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterator
from typing import Any

from sidecar.errors import ConfigurationError
from sidecar.models.machine import read_machine
from training.config import MODELS, TrainingConfig
from training.doctor.findings import Finding, fail, ok
from training.stage import code_version

PACKAGES = ("torch", "transformers", "peft", "safetensors", "onnx")
INSTALL = "pip install 'search-sidecar[train]' (from a clone: make test-training)"


def look_at_software(config: TrainingConfig) -> Iterator[Finding]:
    """Versions, then the device and its precision."""
    code = code_version()
    told = f"{code['version']}, commit {code.get('commit', 'not known')}"
    yield ok("search-sidecar", f"{told}, Python {platform.python_version()}")
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        yield fail("packages", f"{', '.join(missing)} not installed", INSTALL)
    else:
        versions = (f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
        yield ok("packages", ", ".join(versions))
    yield from _look_at_asked_packages(config)
    if "torch" not in missing:
        yield from _look_at_device(config)


def _look_at_asked_packages(config: TrainingConfig) -> Iterator[Finding]:
    """What only some settings need."""
    for model in MODELS:
        section = config.fine_tune(model)
        wanted = {
            "bitsandbytes": section.method == "qlora" and f"{model}.method qlora",
            "deepspeed": bool(section.deepspeed) and f"{model}.deepspeed",
        }
        for package, why in wanted.items():
            if section.train and why and importlib.util.find_spec(package) is None:
                yield fail("packages", f"{why} needs {package}", f"pip install {package}")


def _look_at_device(config: TrainingConfig) -> Iterator[Finding]:
    import torch  # takes seconds, and may not be there

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield ok("device", _told_of_gpu(torch) if device.type == "cuda" else _told_of_cpu(torch))
    for model in MODELS:
        section = config.fine_tune(model)
        if section.train:
            yield _look_at_precision(model, section.precision, device)
        if section.train and section.method == "qlora" and device.type == "cpu":
            told = f"{model}.method qlora needs a GPU"
            yield fail("device", told, f'set {model}.method = "lora"')


def _told_of_gpu(torch: Any) -> str:
    count, name = torch.cuda.device_count(), torch.cuda.get_device_name(0)
    free, total = torch.cuda.mem_get_info(0)
    return f"{count} x {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def _told_of_cpu(torch: Any) -> str:
    return f"{read_machine().name}, {torch.get_num_threads()} threads; no GPU"


def _look_at_precision(model: str, asked: str, device: Any) -> Finding:
    from training.fine_tuning.precision import resolve_precision  # needs torch

    try:
        return ok(f"{model}.precision", f"{asked}: {resolve_precision(asked, device)}")
    except ConfigurationError as error:
        return fail(f"{model}.precision", error.message, f'set {model}.precision = "auto"')
