"""The models that a run begins with: whether they are there, and whether memory holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from sidecar.errors import ConfigurationError, SidecarError
from training.config import MODELS, FineTuneConfig, TrainingConfig
from training.doctor.findings import Finding, fail, ok, warn
from training.doctor.model_size import (
    activation_bytes,
    read_size,
    trained_parameters,
    weights_bytes,
)
from training.models.bases import Base, base_of, find_base

GIB = 2.0**30
TORCH_BYTES = 1.0 * GIB  # what the process takes besides


def look_at_models(config: TrainingConfig) -> Iterator[Finding]:
    """Bases, teachers, and what training each takes."""
    for model in MODELS:
        section = config.fine_tune(model)
        if not section.train:
            yield ok(model, "is not trained")
            continue
        try:
            base = base_of(config, model)
        except SidecarError as error:
            yield fail(f"{model}.base", error.message, f"correct {model}.base")
            continue
        yield ok(f"{model}.base", f"{base.name} ({base.revision}) in {base.folder}")
        yield _look_at_memory(config, model, base)
        if section.teacher:
            yield _look_at_teacher(config, model)


def _look_at_teacher(config: TrainingConfig, model: str) -> Finding:
    name = config.fine_tune(model).teacher
    try:
        found = find_base(name, "cross-encoder", config.publish.registry)
    except SidecarError as error:
        return fail(f"{model}.teacher", error.message, f"correct {model}.teacher")
    return ok(f"{model}.teacher", f"{found.name} ({found.revision})")


def _look_at_memory(config: TrainingConfig, model: str, base: Base) -> Finding:
    section = _resolved(config.fine_tune(model))
    try:
        size = read_size(base.folder)
    except SidecarError as error:
        return warn(f"{model} memory", error.message, "not estimated")
    weights, activations = weights_bytes(size, section), activation_bytes(size, section)
    needed, free = weights + activations + TORCH_BYTES, free_bytes()
    told = (
        f"about {needed / GIB:.1f} GiB of {free / GIB:.1f} GiB free: {section.method}, "
        f"{trained_parameters(size, section) / 1e6:.1f} of {size.parameters / 1e6:.1f} million "
        f"parameters trained ({weights / GIB:.1f}), activations of {section.chunk_tokens} tokens "
        f"({activations / GIB:.1f})"
    )
    if weights + TORCH_BYTES > free:
        advice = "lora" if section.method == "full" else "qlora"
        return fail(
            f"{model} memory", told, f'set {model}.method = "{advice}", or take a smaller base'
        )
    if needed > free:
        advice = f"chunks are halved until they fit; {model}.chunk_tokens or checkpointing spare it"
        return warn(f"{model} memory", told, advice)
    return ok(f"{model} memory", told)


def _resolved(section: FineTuneConfig) -> FineTuneConfig:
    """With the precision that "auto" comes to here, where torch is there to say."""
    try:
        import torch  # may not be there

        from training.fine_tuning.precision import resolve_precision
    except ImportError:
        return section
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        precision = resolve_precision(section.precision, device)
    except ConfigurationError:  # said by the look at the software
        return section
    return dataclasses.replace(section, precision=precision)


def free_bytes() -> float:
    """Of the GPU if there is one, else of this machine or of the container's limit."""
    try:
        import torch  # may not be there

        if torch.cuda.is_available():
            return float(torch.cuda.mem_get_info(0)[0])
    except ImportError:
        pass
    return min(_available(), _left_of_limit())


def _available(path: Path = Path("/proc/meminfo")) -> float:
    """Unlimited where the machine does not say."""
    if path.is_file():
        for line in path.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    return float("inf")


def _left_of_limit(folder: Path = Path("/sys/fs/cgroup")) -> float:
    """What the control group (version 2) may still take."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = float((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return float("inf")
    return float("inf") if limit == "max" else float(limit) - used
