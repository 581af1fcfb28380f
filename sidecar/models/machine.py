"""What this CPU is called and which matrix units its flags promise."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

# Flags of x86 and of ARM in /proc/cpuinfo. A promise only: timing decides.
_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
_INT8_FLAGS = frozenset({"amx_int8", "avx512_vnni", "avx_vnni", "i8mm"})


@dataclass(frozen=True, slots=True)
class Machine:
    """One CPU: its name, the threads this process may use, what its flags promise."""

    name: str
    threads: int
    has_bf16: bool
    has_int8: bool


def read_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> Machine:
    """This machine; on one without /proc nothing is promised."""
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip(), value.strip())
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return Machine(
        name=_name(fields),
        threads=_threads(),
        has_bf16=bool(flags & _BF16_FLAGS),
        has_int8=bool(flags & _INT8_FLAGS),
    )


def _name(fields: dict[str, str]) -> str:
    """Name, family, model and stepping: virtual machines often tell no more than a brand."""
    name = fields.get("model name") or platform.processor() or platform.machine() or "unknown CPU"
    numbers = [fields[key] for key in ("cpu family", "model", "stepping") if key in fields]
    return f"{name} ({'/'.join(numbers)})" if numbers else name


def _threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
