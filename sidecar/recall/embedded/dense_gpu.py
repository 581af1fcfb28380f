"""A copy of an exact index on the first GPU, for searches without a filter.

A GPU index takes one caller at a time and cannot forget single vectors, so the index in main memory
stays the one that changes, and the copy is made anew after changes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import faiss

from sidecar.recall.embedded.dense_blocks import Reading
from sidecar.recall.embedded.dense_exact import ExactIndex
from sidecar.recall.embedded.dense_kinds import Found, Vectors, float_storage, without_padding
from sidecar.recall.embedded.dense_rows import Ordinals

# GpuIndex refuses more (faiss/gpu/utils/DeviceDefs.cuh, GPU_MAX_SELECTION_K).
MAX_GPU_DEPTH = 2048
_CHUNK = 65_536


class GpuCopy:
    """See above."""

    def __init__(self) -> None:
        self._resources = faiss.StandardGpuResources()
        self._lock = threading.Lock()
        self._drops = 0
        self._copy: tuple[Any, Ordinals] | None = None

    def take(self, serving: Callable[[], object], reading: Reading) -> None:
        """Copies the index that serves if it is an exact one, unless its copy is here. It changes
        outside `reading()`; with `drop` the copy that is being made is given up, too."""
        with reading():
            vectors, begun = serving(), self._drops
            if self._copy is not None or not isinstance(vectors, ExactIndex) or not vectors.count:
                return
            ordinals = vectors.ordinals()
        copy = faiss.index_cpu_to_gpu(self._resources, 0, float_storage(vectors.dimensions))
        for first in range(0, len(ordinals), _CHUNK):
            with reading():
                if self._drops != begun:
                    return
                chunk = vectors.vectors(ordinals[first : first + _CHUNK])
            copy.add(chunk)
        with self._lock:
            if self._drops == begun:
                self._copy = copy, ordinals

    def drop(self) -> None:
        """The copy is out of date."""
        with self._lock:
            self._drops += 1
            self._copy = None

    def search(self, vector: Vectors, depth: int) -> Found | None:
        """As VectorIndex.search; None if there is no copy, or it cannot go so deep."""
        if depth > MAX_GPU_DEPTH:
            return None
        with self._lock:
            if self._copy is None:
                return None
            copy, ordinals = self._copy
            answer = copy.search(vector, min(depth, copy.ntotal))
        scores, rows = without_padding(answer, depth)
        return scores, ordinals[rows]


def gpu_count() -> int:
    """GPUs that FAISS can use: none without faiss-gpu."""
    count = getattr(faiss, "get_num_gpus", lambda: 0)()
    return int(count)
