"""Packages, versions, and what training computes on."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterator
from typing import Any

from sidecar.models.machine import read_machine
from training.config import MODELS, TrainingConfig
from training.doctor.findings import Finding, fail, ok, warn
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

    if torch.cuda.is_available():
        yield from _look_at_gpu(torch, config)
    else:
        yield from _look_at_cpu(torch, config)


def _look_at_gpu(torch: Any, config: TrainingConfig) -> Iterator[Finding]:
    count, name = torch.cuda.device_count(), torch.cuda.get_device_name(0)
    free, total = torch.cuda.mem_get_info(0)
    yield ok("device", f"{count} x {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    asked = [m for m in MODELS if config.fine_tune(m).precision == "bf16"]
    if torch.cuda.is_bf16_supported():
        yield ok("precision", "bf16")
    elif asked:
        advice = f'set {asked[0]}.precision = "fp16" or "auto"'
        yield warn("precision", f"{name} has no bf16, which is slow there", advice)
    else:
        yield ok("precision", "fp16 (this card has no bf16)")


def _look_at_cpu(torch: Any, config: TrainingConfig) -> Iterator[Finding]:
    machine = read_machine()
    yield ok("device", f"{machine.name}, {torch.get_num_threads()} threads; no GPU")
    for model in MODELS:
        section = config.fine_tune(model)
        if section.train and section.method == "qlora":
            yield fail(
                "device", f"{model}.method qlora needs a GPU", f'set {model}.method = "lora"'
            )
        if section.train and section.precision == "fp16":
            yield warn(
                "precision",
                f"{model}.precision fp16 is for GPUs",
                f'set {model}.precision = "auto"',
            )
    if machine.has_bf16:
        yield ok("precision", "fp32; bf16 is in the CPU, where precision asks for it")
    else:
        yield ok("precision", "fp32 (the CPU has no bf16)")
