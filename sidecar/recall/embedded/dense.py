"""The dense index: unit vectors in FAISS, searched by inner product, which is their cosine.

It lives in memory and belongs to one bi-encoder at one revision. A snapshot on disk carries its
watermark, the sequence number up to which it has every write; what came later is replayed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sidecar.config import DenseIndexConfig
from sidecar.errors import DamagedError, StorageError
from sidecar.recall.embedded.dense_building import Building, GivenUpError, bring_up_to_date
from sidecar.recall.embedded.dense_choice import (
    FORMS,
    EarlierFormError,
    empty_index,
    form_of,
    restored_index,
)
from sidecar.recall.embedded.dense_deletions import EarlyDeletions
from sidecar.recall.embedded.dense_gpu import GpuCopy, gpu_count
from sidecar.recall.embedded.dense_kinds import LISTS, Lists, VectorIndex, Vectors, on_one_thread
from sidecar.recall.embedded.dense_lists import ListsIndex
from sidecar.recall.embedded.dense_reach import TARGET_RECALL
from sidecar.recall.embedded.dense_rows import Ordinals
from sidecar.recall.embedded.dense_tuning import Tuning
from sidecar.recall.embedded.locks import SharedLock
from sidecar.storage.files import storage_errors
from sidecar.storage.snapshots import Snapshot, read_snapshot, write_snapshot
from sidecar.storage.stored_generations import BiEncoderIdentity, VectorChanges

_log = logging.getLogger(__name__)


class DenseIndex:
    """Searches run together; `apply` and `hide` exclude them for the moment of the change.

    `apply` and `settle` are called by one thread, `save` by one, the rest by any.
    """

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
        self.is_rebuilt = False  # since the last snapshot, which thus is of another index
        self.on_built: Callable[[], object] = lambda: None
        self._vectors = vectors
        self._config = config
        self._noted: list[Ordinals] | None = None
        self._deletions = EarlyDeletions()
        self._lock = SharedLock()
        self._on_gpu = GpuCopy() if config.gpu == "auto" and gpu_count() else None
        self._tuning = Tuning(self._tune, str(bi_encoder)) if config.ivf_probes == 0 else None
        self._building = Building(self, str(bi_encoder), lambda: self.on_built())
        self._copy_to_gpu()

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
        """The index of a folder's snapshot; an empty one if there is no snapshot, or one of an
        earlier version that is not read any more.

        Raises DamagedError: damaged, of another collection, bi-encoder or kind; StorageError:
        cannot be read now.
        """
        snapshot = read_snapshot(folder)
        if snapshot is None:
            return cls.empty(bi_encoder, config)
        _check_whose(snapshot, folder, collection_id, bi_encoder)
        try:
            form = form_of(snapshot.about)
            if form not in FORMS[config.kind]:
                kind = snapshot.about.get("kind")
                raise DamagedError(
                    f"{folder}: the snapshot is of kind {kind!r} ({form}), not {config.kind!r}"
                )
            vectors = _restored(snapshot, folder, bi_encoder, config)
        except EarlierFormError as error:
            _log.info("%s is built anew: %s", folder, error)
            return cls.empty(bi_encoder, config)
        return cls(vectors, bi_encoder, config, int(snapshot.about["watermark"]))

    @property
    def count(self) -> int:
        """Vectors in the index."""
        return self._vectors.count

    @property
    def form(self) -> str:
        """What it is at present: see dense_kinds."""
        return self._vectors.form

    @property
    def is_building(self) -> bool:
        """Whether a better index is being made beside it."""
        return self._building.is_under_way

    def search(
        self, vector: npt.NDArray[np.float32], depth: int, allowed: Ordinals | None
    ) -> list[tuple[int, float]]:
        """(ordinal, cosine) of the `depth` best, best first.

        `vector` is float32 (dimensions,), normalised; `allowed` are the ordinals, sorted, that
        passed the filter, None for all.
        """
        row: Vectors = np.ascontiguousarray(vector, dtype=np.float32).reshape(1, -1)
        with self._lock.shared(), on_one_thread():
            found = self._on_gpu.search(row, depth) if self._on_gpu and allowed is None else None
            scores, ordinals = found or self._vectors.search(row, depth, allowed)
            is_noted = allowed is None and self._vectors.form == LISTS
        if is_noted and self._tuning is not None:
            self._tuning.note(row)
        return list(zip(ordinals.tolist(), scores.tolist(), strict=True))

    def apply(self, changes: VectorChanges, bi_encoder: BiEncoderIdentity) -> None:
        """Takes over changes and their watermark. Refuses vectors of another bi-encoder.

        What fails, memory being short, can be applied again, unless the watermark says 0 then: what
        there was could not be used any more, and all is to be applied anew.
        """
        if bi_encoder != self.bi_encoder:
            raise ValueError(
                f"vectors of {bi_encoder} do not belong with those of {self.bi_encoder}"
            )
        while True:
            index = self._vectors
            lists = index.placed(changes.vectors)
            with self._lock.exclusive(), on_one_thread():
                if index is not self._vectors:  # a better one took over meanwhile
                    continue
                self._put(changes, lists)
                self.watermark = changes.upto
                self._deletions.drop(changes.upto)
                return

    def hide(self, ordinals: Iterable[int], sequence: int) -> None:
        """Forgets documents that the write of this number deleted, ahead of the other changes of
        that write and those before it; nothing if it has them already."""
        forget = np.unique(np.fromiter(ordinals, np.int64))
        with self._lock.exclusive():
            if sequence > self.watermark:
                self._deletions.add(forget.tolist(), sequence)
                self._vectors.put(forget, forget[:0], self._no_vectors(), None)
                self._note(forget)

    def settle(self) -> None:
        """Between changes: begins to build a better index, or makes a copy on the GPU, where it is
        time for one. Searches and changes go on meanwhile on what there is."""
        if self._building.may_start:
            with self._lock.shared():
                successor = self._vectors.successor()
            if successor is not None:
                self._building.start(successor)
        self._copy_to_gpu()

    @property
    def again(self) -> float:
        """From when on, by time.monotonic(), `settle` tries again what failed; past if nothing
        did."""
        return self._building.again

    def wait_built(self, timeout_seconds: float | None = None) -> None:
        """Until a better index that is being built has taken over, or failed."""
        self._building.wait(timeout_seconds)

    def close(self) -> None:
        """No better index is built any more, and none tuned."""
        self._building.close()
        if self._tuning is not None:
            self._tuning.close()

    def save(self, folder: Path, collection_id: str) -> None:
        """Writes the snapshot, of which only what is new goes to the disk; searches and changes go
        on meanwhile.

        Raises StorageError; the older snapshot then stands.
        """
        with self._lock.shared():
            vectors, watermark = self._vectors, self.watermark
            parts = vectors.parts(self._lock.shared)
            about = {
                "collection_id": collection_id,
                "kind": self._config.kind,
                **dataclasses.asdict(self.bi_encoder),
                **parts.about,
                "form": vectors.form,
                "watermark": watermark,
                "count": vectors.count,
            }
        write_snapshot(folder, watermark, parts.files, about, parts.lasting)
        self.saved_watermark = watermark
        self.is_rebuilt = vectors is not self._vectors

    def ordinals(self) -> Ordinals:
        """Those held, sorted, each once unless the index is at fault: for `verify`."""
        with self._lock.shared():
            return self._vectors.ordinals()

    def vectors(self, ordinals: Ordinals) -> Vectors:
        """The vectors of some that are held: for `verify`."""
        with self._lock.shared():
            return self._vectors.vectors(ordinals)

    def _tune(self, queries: Vectors, check: Callable[[], None]) -> None:
        """Lists are read as these queries need it."""
        index = self._vectors

        @contextlib.contextmanager
        def reading() -> Iterator[None]:
            check()
            with self._lock.shared(), on_one_thread():
                if index is not self._vectors:
                    raise GivenUpError
                yield

        if isinstance(index, ListsIndex):
            index.find_reach(queries, TARGET_RECALL, reading)

    # As the source of a better index: see dense_building.Source

    def begin_copy(self) -> Ordinals:
        """What is held; from now on what changes is noted."""
        with self._lock.exclusive():
            self._noted = []
            return self._vectors.ordinals()

    def copy(self, ordinals: Ordinals) -> tuple[Ordinals, Vectors]:
        """Those of some (sorted) that are held now, and their vectors."""
        with self._lock.shared(), on_one_thread():
            return self._copied(ordinals)

    def changed(self) -> Ordinals:
        """What has changed since it was last asked for, sorted, each once."""
        with self._lock.exclusive():
            return self._take_noted()

    def replace(self, better: VectorIndex) -> None:
        """Brings the better index up to date and lets it serve from now on."""
        with self._lock.exclusive(), on_one_thread():
            bring_up_to_date(better, self._take_noted(), self._copied)
            self._vectors, self._noted, self.is_rebuilt = better, None, True
            if self._on_gpu:
                self._on_gpu.drop()
        if self._tuning is not None:
            self._tuning.restart()

    def end_copy(self) -> None:
        """What changes need not be noted any more."""
        with self._lock.exclusive():
            self._noted = None

    def _put(self, changes: VectorChanges, lists: Lists | None) -> None:
        # Those written may be held in an older version: an ordinal is never held twice.
        forget = np.union1d(np.array(changes.forget, dtype=np.int64), changes.ordinals)
        ordinals, vectors = changes.ordinals, changes.vectors
        if len(self._deletions):
            stays = ~self._deletions.are_after(ordinals, changes.upto)
            ordinals, vectors = ordinals[stays], vectors[stays]
            lists = None if lists is None else lists[stays]
        try:
            self._vectors.put(forget, ordinals, vectors, lists)
        except BaseException:
            self._begin_anew_unless_whole()
            raise
        finally:
            self._note(forget)

    def _begin_anew_unless_whole(self) -> None:
        if not self._vectors.is_whole:
            _log.error("%s: an addition broke off, the dense index is built anew", self.bi_encoder)
            self._vectors = empty_index(self.bi_encoder.dimensions, self._config)
            self._noted, self.is_rebuilt, self.watermark = None, True, 0

    def _copied(self, ordinals: Ordinals) -> tuple[Ordinals, Vectors]:
        held = self._vectors.held_of(ordinals)
        return held, self._vectors.vectors(held)

    def _take_noted(self) -> Ordinals:
        if self._noted is None:
            raise RuntimeError("the index that it is made of was begun anew meanwhile")
        noted, self._noted = self._noted, []
        return np.unique(np.concatenate([np.empty(0, np.int64), *noted]))

    def _note(self, changed: Ordinals) -> None:
        if self._noted is not None:
            self._noted.append(changed)
        if self._on_gpu:
            self._on_gpu.drop()

    def _copy_to_gpu(self) -> None:
        if self._on_gpu:
            self._on_gpu.take(lambda: self._vectors, self._lock.shared)

    def _no_vectors(self) -> Vectors:
        return np.empty((0, self.bi_encoder.dimensions), np.float32)


def _check_whose(
    snapshot: Snapshot, folder: Path, collection_id: str, bi_encoder: BiEncoderIdentity
) -> None:
    wanted = {"collection_id": collection_id, **dataclasses.asdict(bi_encoder)}
    for key, value in wanted.items():
        if snapshot.about.get(key) != value:
            raise DamagedError(
                f"{folder}: the snapshot is of {key} {snapshot.about.get(key)!r}, not {value!r}"
            )


def _restored(
    snapshot: Snapshot, folder: Path, bi_encoder: BiEncoderIdentity, config: DenseIndexConfig
) -> VectorIndex:
    try:
        with storage_errors(folder):
            vectors = restored_index(snapshot.files, snapshot.about, bi_encoder.dimensions, config)
    except MemoryError as error:
        raise StorageError(f"{folder}: not enough memory for the snapshot") from error
    except (RuntimeError, KeyError, ValueError) as error:
        raise DamagedError(f"{folder}: the snapshot cannot be read: {error}") from error
    if vectors.count != snapshot.about["count"]:
        raise DamagedError(f"{folder}: the snapshot holds {vectors.count} vectors, not all")
    return vectors
