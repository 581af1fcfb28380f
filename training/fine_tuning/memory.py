"""How much memory was needed, and whether an error says that there was not enough."""

from __future__ import annotations

import contextlib
import ctypes
import math
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h
_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
)


def is_memory_failure(error: BaseException) -> bool:
    """Of a CPU's allocator (a plain RuntimeError), or of a GPU's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def peak_megabytes() -> float:
    """The most that this process has held: of the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 1e6)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def activation_bytes(model: nn.Module, tokens: int) -> float:
    """About what a model's forward pass keeps of so many tokens: 35 numbers of float32 for each
    hidden one of each layer, as measured of BERT (10 to 16 in Korthikanti et al., arXiv 2205.05198,
    besides attention's and what autocast copies). 0: the model does not tell its size."""
    config = getattr(model, "config", None)
    size = getattr(config, "hidden_size", 0) * getattr(config, "num_hidden_layers", 0)
    return 4.0 * 35 * size * tokens


def available_bytes() -> float:
    """What this machine, or the container, has left; infinite where the system does not tell."""
    found = [math.inf]
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        told = next((line for line in lines if line.startswith("MemAvailable")), "")
        found.append(float(told.split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        used = float((group / "memory.current").read_text())
        found.append(float((group / "memory.max").read_text()) - used)
    return min(found)


def release() -> None:
    """Gives back what the allocator kept for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def memory_kept() -> Iterator[None]:
    """What is freed inside stays with the process for the next step. glibc gives large blocks back
    and asks for them again, when the system fills them with zeros: a tenth of a CPU's step.

    https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    libc = _glibc()
    if libc is None or torch.cuda.is_available():
        yield
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, 65_536)
        libc.mallopt(_TRIM_THRESHOLD, 128 * 1024)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
