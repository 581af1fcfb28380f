"""The exact kinds: a scan of all vectors, as float32 or as float16."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from sidecar.recall.embedded.dense_blocks import (
    LIVING,
    Blocks,
    Codes,
    Reading,
    RowLists,
    block_files,
    living_file,
    read_blocks,
    read_living,
)
from sidecar.recall.embedded.dense_kinds import (
    FLOAT16,
    FLOAT32,
    NOTHING_FOUND,
    Found,
    Lists,
    Parts,
    Successor,
    VectorIndex,
    Vectors,
    float_storage,
    half_storage,
    is_due_for_dead,
    without_padding,
)
from sidecar.recall.embedded.dense_rows import Ordinals, Rows

# What a better index than this one would be, where it is time for one.
Better = Callable[["ExactIndex"], Successor | None]


class ExactIndex:
    """Rows in the order of their coming. A search costs some 25 ns a vector of 384 dimensions as
    float16; one with a filter 2 ns a vector and 40 ns each that it leaves."""

    def __init__(self, storage: Any, better: Better | None = None) -> None:
        """`storage` is an empty IndexFlat or IndexScalarQuantizer of FAISS."""
        self.rows = Rows()
        self.storage = storage
        self._better = better or compacted
        self._blocks = Blocks()

    @classmethod
    def restored(
        cls,
        files: Mapping[str, Path],
        about: Mapping[str, Any],
        storage: Any,
        better: Better | None = None,
    ) -> ExactIndex:
        """Out of the files of a snapshot. Raises OSError, KeyError, ValueError."""
        index = cls(storage, better)
        index._blocks = Blocks.of(about)

        def take(_: RowLists, codes: Codes) -> None:
            storage.add_sa_codes(codes)

        ordinals = read_blocks(files, index._blocks, storage.sa_code_size(), take)
        index.rows = Rows.restored(ordinals, read_living(files[LIVING], len(ordinals)))
        return index

    @property
    def form(self) -> str:
        """See VectorIndex."""
        return FLOAT16 if isinstance(self.storage, faiss.IndexScalarQuantizer) else FLOAT32

    @property
    def count(self) -> int:
        """Vectors held."""
        return self.rows.count

    @property
    def dimensions(self) -> int:
        """Of each vector."""
        return int(self.storage.d)

    @property
    def is_whole(self) -> bool:
        """See VectorIndex."""
        return int(self.storage.ntotal) == self.rows.row_count

    def placed(self, vectors: Vectors) -> None:
        """See VectorIndex: there are no lists."""

    def put(
        self, forget: Ordinals, ordinals: Ordinals, vectors: Vectors, lists: Lists | None = None
    ) -> None:
        """See VectorIndex."""
        # First, so that what FAISS has taken cannot be left without its row.
        self.rows.reserve(ordinals)
        self.rows.forget(forget)
        if len(ordinals):
            self.storage.add(vectors)
            self.rows.append(ordinals)

    def search(self, vector: Vectors, depth: int, allowed: Ordinals | None) -> Found:
        """See VectorIndex."""
        most, selector = min(depth, self.count), self.rows.living_selector()
        if allowed is not None:
            rows = self.rows.rows_of(allowed)
            rows = rows[rows >= 0]
            most, selector = min(depth, len(rows)), self.rows.selector_of(rows)
        if most == 0:
            return NOTHING_FOUND
        parameters = None if selector is None else faiss.SearchParameters(sel=selector)
        answer = self.storage.search(vector, most, params=parameters)
        scores, found = without_padding(answer, most)
        return scores, self.rows.ordinals_of(found)

    def ordinals(self) -> Ordinals:
        """See VectorIndex."""
        return self.rows.held()

    def held_of(self, ordinals: Ordinals) -> Ordinals:
        """See VectorIndex."""
        return ordinals[self.rows.rows_of(ordinals) >= 0]

    def vectors(self, ordinals: Ordinals) -> Vectors:
        """See VectorIndex."""
        if not len(ordinals):
            return np.empty((0, self.dimensions), dtype=np.float32)
        vectors: Vectors = self.storage.reconstruct_batch(self.rows.rows_of(ordinals))
        return vectors

    def successor(self) -> Successor | None:
        """See VectorIndex."""
        return self._better(self)

    def parts(self, reading: Reading) -> Parts:
        """See VectorIndex."""
        self._blocks.reach(self.rows.row_count)
        files = block_files(self._blocks, self.rows, self._between, reading)
        return Parts(
            {**files, LIVING: living_file(self.rows)}, frozenset(files), self._blocks.about()
        )

    def _between(self, first: int, last: int) -> tuple[RowLists, Codes]:
        size = self.storage.sa_code_size()
        codes = faiss.rev_swig_ptr(self.storage.codes.data(), self.rows.row_count * size)
        lists = np.zeros(last - first, np.int32)
        return lists, codes[first * size : last * size].copy()


class ExactSuccessor:
    """An exact index in the making."""

    sample_count = 0

    def __init__(self, storage: Any, better: Better | None = None) -> None:
        self._made = ExactIndex(storage, better)

    def train(self, sample: Vectors, check: Callable[[], None]) -> None:
        """See Successor: nothing is to be learnt."""

    def add(self, ordinals: Ordinals, vectors: Vectors) -> None:
        """See Successor."""
        self._made.put(ordinals, ordinals, vectors)

    def finish(self, sample: Vectors, check: Callable[[], None]) -> VectorIndex:
        """See Successor."""
        return self._made


def compacted(index: ExactIndex) -> Successor | None:
    """The same without its dead rows, once there are many."""
    if not is_due_for_dead(index.rows.dead_count, index.count):
        return None
    empty = half_storage if index.form == FLOAT16 else float_storage
    return ExactSuccessor(empty(index.dimensions), index._better)
