"""The dense index: unit vectors in FAISS, searched by inner product, which is their cosine.

It lives in memory and belongs to one bi-encoder at one revision. A snapshot on disk carries its
watermark, the sequence number up to which it has every write; what came later is replayed.
"""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from sidecar.config import DenseIndexConfig
from sidecar.errors import DamagedError, StorageError
from sidecar.recall.embedded.dense_kinds import (
    ExactIndex,
    Ordinals,
    VectorIndex,
    Vectors,
    empty_index,
    restored_index,
)
from sidecar.recall.embedded.locks import SharedLock
from sidecar.storage.files import storage_errors
from sidecar.storage.snapshots import read_snapshot, write_snapshot
from sidecar.storage.stored_generations import BiEncoderIdentity, VectorChanges

# GpuIndex refuses more (faiss/gpu/utils/DeviceDefs.cuh, GPU_MAX_SELECTION_K).
MAX_GPU_DEPTH = 2048


class DenseIndex:
    """Searches run together; `apply`, by one thread, excludes them for the moment of the change."""

    def __init__(
        self,
        vectors: VectorIndex,
        bi_encoder: BiEncoderIdentity,
        config: DenseIndexConfig,
        watermark: int = 0,
    ) -> None:
        self.bi_encoder = bi_encoder
        self.watermark = watermark
        self.saved_watermark = watermark
        self._vectors = vectors
        self._kind = config.kind
        self._lock = SharedLock()
        self._on_gpu = GpuCopy() if config.gpu == "auto" and gpu_count() else None
        self.settle()

    @classmethod
    def empty(cls, bi_encoder: BiEncoderIdentity, config: DenseIndexConfig) -> DenseIndex:
        """An index without vectors."""
        return cls(empty_index(bi_encoder.dimensions, config), bi_encoder, config)

    @classmethod
    def open(
        cls,
        folder: Path,
        collection_id: str,
        bi_encoder: BiEncoderIdentity,
        config: DenseIndexConfig,
    ) -> DenseIndex:
        """The index of a folder's snapshot; an empty one if there is no snapshot.

        Raises DamagedError: damaged, of another collection, bi-encoder or kind; StorageError:
        cannot be read now.
        """
        snapshot = read_snapshot(folder)
        if snapshot is None:
            return cls.empty(bi_encoder, config)
        wanted = _about(collection_id, bi_encoder, config.kind)
        for key, value in wanted.items():
            if snapshot.about.get(key) != value:
                raise DamagedError(
                    f"{folder}: the snapshot is of {key} {snapshot.about.get(key)!r}, not {value!r}"
                )
        try:
            with storage_errors(folder):
                vectors = restored_index(snapshot.files, config)
        except MemoryError as error:
            raise StorageError(f"{folder}: not enough memory for the snapshot") from error
        except (RuntimeError, KeyError) as error:
            raise DamagedError(f"{folder}: FAISS cannot read the snapshot: {error}") from error
        if vectors.count != snapshot.about["count"]:
            raise DamagedError(f"{folder}: the snapshot holds {vectors.count} vectors, not all")
        return cls(vectors, bi_encoder, config, int(snapshot.about["watermark"]))

    @property
    def count(self) -> int:
        """Vectors in the index."""
        return self._vectors.count

    def search(
        self, vector: npt.NDArray[np.float32], depth: int, allowed: Ordinals | None
    ) -> list[tuple[int, float]]:
        """(ordinal, cosine) of the `depth` best, best first.

        `vector` is float32 (dimensions,), normalised; `allowed` are the ordinals, sorted, that
        passed the filter, None for all.
        """
        row: Vectors = np.ascontiguousarray(vector, dtype=np.float32).reshape(1, -1)
        with self._lock.shared():
            if self._vectors.count == 0 or (allowed is not None and len(allowed) == 0):
                return []
            found = self._on_gpu.search(row, depth) if self._on_gpu and allowed is None else None
            scores, ordinals = found or self._vectors.search(row, depth, allowed)
        return [(int(o), float(s)) for o, s in zip(ordinals, scores, strict=True)]

    def apply(self, changes: VectorChanges, bi_encoder: BiEncoderIdentity) -> None:
        """Takes over changes and their watermark. Refuses vectors of another bi-encoder."""
        if bi_encoder != self.bi_encoder:
            raise ValueError(
                f"vectors of {bi_encoder} do not belong with those of {self.bi_encoder}"
            )
        forget = np.array(changes.forget, dtype=np.int64)
        # Those written may be held in an older version: an ordinal is never held twice.
        forget = np.union1d(forget, changes.ordinals)
        with self._lock.exclusive():
            self._vectors.replace(forget, changes.ordinals, changes.vectors)
            self.watermark = changes.upto
            if self._on_gpu:
                self._on_gpu.drop()

    def settle(self) -> None:
        """Between changes: builds a better index or a copy on the GPU where it is time for one.

        Searches go on meanwhile on what there is.
        """
        better = self._vectors.rebuilt()
        if better is not None:
            with self._lock.exclusive():
                self._vectors = better
        if self._on_gpu and isinstance(self._vectors, ExactIndex):
            self._on_gpu.take(self._vectors)

    def save(self, folder: Path, collection_id: str) -> None:
        """Writes the snapshot. Raises StorageError; the older snapshot then stands."""
        with self._lock.shared():
            about = _about(collection_id, self.bi_encoder, self._kind)
            about |= {"watermark": self.watermark, "count": self.count}
            write_snapshot(folder, self.watermark, self._vectors.parts(), about)
            self.saved_watermark = self.watermark

    def ordinals(self) -> Ordinals:
        """Those held, sorted, each once unless the index is at fault: for `verify`."""
        with self._lock.shared():
            return self._vectors.ordinals()

    def vectors(self, ordinals: Ordinals) -> Vectors:
        """The vectors of some that are held: for `verify`."""
        with self._lock.shared():
            return self._vectors.vectors(ordinals)


class GpuCopy:
    """A copy of an exact index on the first GPU, for searches without a filter.

    A GPU index takes one caller at a time and cannot forget single vectors, so the index in main
    memory stays the one that changes, and the copy is made anew after changes.
    """

    def __init__(self) -> None:
        self._resources = faiss.StandardGpuResources()
        self._lock = threading.Lock()
        self._copy: Any = None

    def take(self, vectors: ExactIndex) -> None:
        """Copies an index, unless its copy is here."""
        if self._copy is None and vectors.count:
            copy = faiss.index_cpu_to_gpu(self._resources, 0, vectors.faiss_index)
            with self._lock:
                self._copy = copy

    def drop(self) -> None:
        """The copy is out of date."""
        with self._lock:
            self._copy = None

    def search(self, vector: Vectors, depth: int) -> tuple[Vectors, Ordinals] | None:
        """As VectorIndex.search; None if there is no copy, or it cannot go so deep."""
        if depth > MAX_GPU_DEPTH:
            return None
        with self._lock:
            if self._copy is None:
                return None
            scores, ordinals = self._copy.search(vector, min(depth, self._copy.ntotal))
        return scores[0], ordinals[0]


def gpu_count() -> int:
    """GPUs that FAISS can use: none without faiss-gpu."""
    count = getattr(faiss, "get_num_gpus", lambda: 0)()
    return int(count)


def _about(collection_id: str, bi_encoder: BiEncoderIdentity, kind: str) -> dict[str, object]:
    return {"collection_id": collection_id, "kind": kind, **dataclasses.asdict(bi_encoder)}
