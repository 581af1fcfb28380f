"""How much memory was needed, and whether an error says that there was not enough."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

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
