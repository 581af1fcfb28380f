"""How much memory was needed, and whether an error says that there was not enough."""

from __future__ import annotations

import resource
import sys

import torch

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
        return torch.cuda.max_memory_allocated() / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def release() -> None:
    """Gives back what the allocator kept for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
