"""In which precision matrices are multiplied; weights and optimizer stay in float32 throughout.

"auto" is bfloat16 where the hardware multiplies it (a GPU of compute capability 8 or more, a CPU
with AVX512_BF16 or AMX), else float32: without such units bfloat16 is converted back and forth.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from sidecar.errors import ConfigurationError

_CPU_FLAGS = ("avx512_bf16", "amx_bf16")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: str, device: torch.device) -> str:
    """ "fp32", "bf16" or "fp16". Raises ConfigurationError: fp16 on a CPU."""
    if precision == "auto":
        return "bf16" if _multiplies_bfloat16(device) else "fp32"
    if precision == "fp16" and device.type == "cpu":
        raise ConfigurationError("precision fp16 needs a GPU: write bf16, fp32 or auto")
    return precision


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """To be entered around a forward pass, anew for each: what it keeps must not outlive one."""
    if precision == "fp32":
        return nullcontext()
    entered: AbstractContextManager[object] = torch.autocast(device.type, dtype=_DTYPES[precision])
    return entered


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device)[0] >= 8)
    return any(flag in _cpu_flags() for flag in _CPU_FLAGS)


def _cpu_flags() -> frozenset[str]:
    """Empty where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    found = (line.partition(":")[2] for line in lines if line.startswith("flags"))
    return frozenset(next(found, "").split())
