"""Lists (IVF): vectors as float16 beside others like them, of which a search reads the nearest few.

Measured on one core of an EPYC with AVX-512, 384 dimensions, FAISS 1.15.1: R@100 against an exact
scan of float32, and milliseconds a search.

    250,000 passages of three judged sets and noise copies of them, MiniLM, queries of the sets
    5,000 lists  .977 .39 (100)      .992 .74 (200)      .997 1.40 (400)     made in 38 s
    2,000 lists  .985 .78 (160)      .989 1.15 (240)     .992 1.57 (320)               16 s
    HNSW, fp16   .977 .23 (ef 200)   .989 .40 (ef 400)   .993  .67 (ef 600)            35 s

    clustered vectors, queries of the same clusters: lists, 4 * sqrt(n); HNSW, 32 links; exact, fp16
      100,000   .981  .56 (128 of 1024)      .982  .72 (ef 300)      2.4
      300,000   .990  .60 ( 90 of 2048)      .990  .80 (ef 300)     10
    1,000,000   .990  .46 ( 32 of 4096)      .992  .43 (ef 200)      made in 50 s; 245 s

So they are as good as a graph. They hold nothing beside the vectors, take new ones at the price of
finding their list, and with a filter miss nothing as a graph does. IVF of 8 bits, or of RaBitQ
codes, with the best compared again found no more in the same time.

How many lists are near enough is found out for each index (`dense_reach.py`). With a
filter that leaves a share s of the vectors, the k best of them lie as far as the k / s best of all,
and so many lists are read; s is that of the lists that are read, where it is less there than among
all. Where that would be half of the lists, or the filter leaves few, all lists are read that have
any of what it leaves, which is exact. Measured, a vector that is read after its neighbour costs
50 ns, one that is read alone 300 ns, one that is passed over 2 ns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

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
    LISTS,
    NOTHING_FOUND,
    Found,
    Lists,
    Parts,
    Successor,
    Vectors,
    is_due_for_dead,
    without_padding,
)
from sidecar.recall.embedded.dense_reach import TRIED_DEPTHS, Reach, reach_of
from sidecar.recall.embedded.dense_rows import Ordinals, RowNumbers, Rows
from sidecar.storage.snapshots import WritePart

# Trained anew once it has grown so many times since.
GROWN = 4
# A filter that leaves no more than this is answered exactly.
SCAN_ORDINALS = 5_000
# In which lists the vectors are that a filter leaves is judged by so many of them. It leaves fewer
# of those near the query than of all where their share there is less than EVEN of that of all.
COUNTED_ROWS = 50_000
EVEN = 0.8
MOST_TRIES = 4
# Read together while nobody waits for the answer: a millisecond.
BLOCK_ROWS = 20_000

# What a better index than this one would be, where it is time for one.
ListsBetter = Callable[["ListsIndex"], Successor | None]


class ListsIndex:
    """See VectorIndex. `better` makes what comes after it, if it is time for that."""

    def __init__(self, lists: Any, reach: Reach, trained_count: int, better: ListsBetter) -> None:
        """`lists` is a trained IndexIVFScalarQuantizer of FAISS, empty."""
        self.rows = Rows()
        self.trained_count = trained_count
        self._lists = lists
        self._reach = reach
        self._better = better
        self._list_of = np.empty(0, np.int32)  # by row
        self._sizes = np.zeros(lists.nlist, np.int64)  # of the lists, dead rows too
        self._centroids: Vectors = lists.quantizer.reconstruct_n(0, lists.nlist)
        self._blocks = Blocks()

    @classmethod
    def restored(
        cls,
        files: Mapping[str, Path],
        about: Mapping[str, Any],
        dimensions: int,
        better: ListsBetter,
    ) -> ListsIndex:
        """Out of the files of a snapshot. Raises OSError, KeyError, ValueError."""
        blocks = Blocks.of(about)
        content = np.frombuffer(files[_centroids_name(blocks)].read_bytes(), "<f4")
        lists = lists_around(content.reshape(-1, dimensions).astype(np.float32))
        index = cls(lists, Reach.of(about["reach"]), about["trained_count"], better)
        index._blocks = blocks

        def take(numbers: RowLists, codes: Codes) -> None:
            index._append(numbers, codes)

        ordinals = read_blocks(files, blocks, lists.code_size, take)
        lists.ntotal = len(ordinals)
        lists.set_direct_map_type(faiss.DirectMap.Array)
        index.rows = Rows.restored(ordinals, read_living(files[LIVING], len(ordinals)))
        return index

    @property
    def form(self) -> str:
        """See VectorIndex."""
        return LISTS

    @property
    def count(self) -> int:
        """Vectors held."""
        return self.rows.count

    @property
    def dimensions(self) -> int:
        """Of each vector."""
        return int(self._lists.d)

    @property
    def list_count(self) -> int:
        """How many lists there are."""
        return int(self._lists.nlist)

    @property
    def is_whole(self) -> bool:
        """See VectorIndex."""
        known = int(self._lists.ntotal), int(self._lists.invlists.compute_ntotal())
        return known == (self.rows.row_count, self.rows.row_count)

    def placed(self, vectors: Vectors) -> Lists | None:
        """See VectorIndex."""
        if not len(vectors):
            return np.empty(0, np.int64)
        nearest: Lists = self._lists.quantizer.search(vectors, 1)[1][:, 0]
        return nearest

    def put(
        self, forget: Ordinals, ordinals: Ordinals, vectors: Vectors, lists: Lists | None = None
    ) -> None:
        """See VectorIndex."""
        if lists is None:
            lists = self.placed(vectors)
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        numbers = np.ascontiguousarray(lists, dtype=np.int64)
        # First, so that what FAISS has taken cannot be left without its row.
        self.rows.reserve(ordinals)
        self._reserve(len(ordinals))
        self.rows.forget(forget)
        if not len(ordinals):
            return
        self._lists.add_core(
            len(vectors), faiss.swig_ptr(vectors), None, faiss.swig_ptr(numbers), None
        )
        self._remember(numbers.astype(np.int32))
        self.rows.append(ordinals)

    def search(self, vector: Vectors, depth: int, allowed: Ordinals | None) -> Found:
        """See VectorIndex."""
        if allowed is None:
            return self._search_all(vector, min(depth, self.count))
        rows = self.rows.rows_of(allowed)
        rows = rows[rows >= 0]
        return self._search_some(vector, min(depth, len(rows)), rows)

    def _search_all(self, vector: Vectors, most: int) -> Found:
        if most == 0:
            return NOTHING_FOUND
        selector = self.rows.living_selector()
        found = self._probed(vector, most, selector, self._reach.lists(most))
        if len(found[1]) < most:
            found = self._probed(vector, most, selector, self.list_count)
        return found

    def _search_some(self, vector: Vectors, most: int, rows: RowNumbers) -> Found:
        if most == 0:
            return NOTHING_FOUND
        selector = self.rows.selector_of(rows)
        lists = self._nearest_for(vector, most, rows) if len(rows) > SCAN_ORDINALS else None
        if lists is not None:
            found = self._read(vector, most, selector, lists)
            if len(found[1]) == most:
                return found
        return self._read(vector, most, selector, np.unique(self._list_of[rows]))

    def _nearest_for(self, vector: Vectors, most: int, rows: RowNumbers) -> RowLists | None:
        """The lists to be read for so many of some rows; None if that would be most of all."""
        step = max(1, len(rows) // COUNTED_ROWS)
        counts = np.bincount(self._list_of[rows[::step]], minlength=self.list_count) * step
        # Not by BLAS: the product waits for its threads, 200 ms where they get no core, to save .1.
        nearness = np.einsum("ij,j->i", self._centroids, vector[0])
        share = len(rows) / self.count
        for _ in range(MOST_TRIES):
            number = self._reach.lists(math.ceil(most / share))
            if number > self.list_count / 2:
                return None
            lists = np.argpartition(-nearness, number)[:number]
            share_here = counts[lists].sum() / max(1, self._sizes[lists].sum())
            if share_here >= EVEN * share:
                return lists.astype(np.int32)
            if share_here == 0.0:
                return None
            share = share_here
        return None

    def _probed(self, vector: Vectors, most: int, selector: Any, probes: int) -> Found:
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=min(probes, self.list_count))
        return self._named(self._lists.search(vector, most, params=parameters), most)

    def _read(self, vector: Vectors, most: int, selector: Any, lists: RowLists) -> Found:
        """The best in some lists."""
        scores, rows = self._read_rows(vector, most, selector, lists)
        return scores, self.rows.ordinals_of(rows)

    def _read_rows(
        self, vector: Vectors, most: int, selector: Any, lists: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.float32], RowNumbers]:
        numbers = lists.astype(np.int64)
        nearness = np.zeros(len(numbers), np.float32)  # only what is relative to centroids uses it
        scores, rows = np.empty((1, most), np.float32), np.empty((1, most), np.int64)
        # The wrapper of this one takes no parameters.
        self._lists.search_preassigned_c(
            1,
            faiss.swig_ptr(vector),
            most,
            faiss.swig_ptr(numbers),
            faiss.swig_ptr(nearness),
            faiss.swig_ptr(scores),
            faiss.swig_ptr(rows),
            False,
            faiss.SearchParametersIVF(sel=selector, nprobe=len(numbers)),
        )
        return without_padding((scores, rows), most)

    def _named(self, answer: tuple[Any, Any], most: int) -> Found:
        scores, rows = without_padding(answer, most)
        return scores, self.rows.ordinals_of(rows)

    def ordinals(self) -> Ordinals:
        """See VectorIndex."""
        return self.rows.held()

    def held_of(self, ordinals: Ordinals) -> Ordinals:
        """See VectorIndex."""
        return ordinals[self.rows.rows_of(ordinals) >= 0]

    def vectors(self, ordinals: Ordinals) -> Vectors:
        """See VectorIndex."""
        return self._reconstructed(self.rows.rows_of(ordinals))

    def _reconstructed(self, rows: RowNumbers) -> Vectors:
        if not len(rows):
            return np.empty((0, self._lists.d), dtype=np.float32)
        vectors: Vectors = self._lists.reconstruct_batch(rows)
        return vectors

    def successor(self) -> Successor | None:
        """See VectorIndex."""
        return self._better(self)

    def find_reach(self, queries: Vectors, target: float, reading: Reading) -> None:
        """Finds out how many lists are to be read for a recall of `target` of such queries
        (n, dimensions). Looks at the lists only within `reading()`, a few at a time."""
        depth = min(TRIED_DEPTHS[-1], max(1, self.count // 2))
        places = [self._places(query.reshape(1, -1), depth, reading) for query in queries]
        # What is deleted meanwhile is not found.
        whole = [each for each in places if len(each) == depth]
        if whole:
            self._reach = reach_of(np.array(whole, np.int64), self.list_count, target)

    def _places(self, vector: Vectors, depth: int, reading: Reading) -> npt.NDArray[np.int64]:
        """Where the lists of the nearest stand among all; see dense_reach."""
        order = np.argsort(-np.einsum("ij,j->i", self._centroids, vector[0]))
        scores, lists = np.empty(0, np.float32), np.empty(0, np.int32)
        for block in self._in_blocks(order):
            with reading():
                found, rows = self._read_rows(vector, depth, self.rows.living_selector(), block)
                scores = np.concatenate((scores, found))
                lists = np.concatenate((lists, self._list_of[rows]))
            best = np.argsort(-scores, kind="stable")[:depth]
            scores, lists = scores[best], lists[best]
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        found_in: npt.NDArray[np.int64] = places[lists]
        return found_in

    def _in_blocks(self, order: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """Lists in an order, so many together that those who wait for them hardly notice."""
        upto = np.cumsum(self._sizes[order])
        return np.split(order, np.flatnonzero(np.diff(upto // BLOCK_ROWS)) + 1)

    @property
    def is_outgrown(self) -> bool:
        """Whether it has many more vectors than it was trained for, or many dead rows."""
        if self.count >= GROWN * self.trained_count:
            return True
        return is_due_for_dead(self.rows.dead_count, self.count)

    def parts(self, reading: Reading) -> Parts:
        """See VectorIndex."""
        self._blocks.reach(self.rows.row_count)
        blocks = block_files(self._blocks, self.rows, self._between, reading)
        centroids = {_centroids_name(self._blocks): self._write_centroids()}
        about = {
            **self._blocks.about(),
            "reach": self._reach.about(),
            "trained_count": self.trained_count,
        }
        lasting = {**blocks, **centroids}
        return Parts({**lasting, LIVING: living_file(self.rows)}, frozenset(lasting), about)

    def _between(self, first: int, last: int) -> tuple[RowLists, Codes]:
        vectors = self._reconstructed(np.arange(first, last, dtype=np.int64))
        codes = vectors.astype("<f2").view(np.uint8)  # as FAISS has them: nothing is lost
        return self._list_of[first:last].copy(), codes

    def _write_centroids(self) -> WritePart:
        return lambda file: file.write(self._centroids.astype("<f4").tobytes())

    def _reserve(self, count: int) -> None:
        """Room for the lists of so many rows that come next."""
        first, last = self.rows.row_count, self.rows.row_count + count
        if last > len(self._list_of):
            grown = np.empty(max(last, 2 * len(self._list_of)), np.int32)
            grown[:first] = self._list_of[:first]
            self._list_of = grown

    def _remember(self, numbers: RowLists) -> None:
        """The lists of the rows that come next."""
        self._reserve(len(numbers))
        first, last = self.rows.row_count, self.rows.row_count + len(numbers)
        self._list_of[first:last] = numbers
        np.add.at(self._sizes, numbers, 1)

    def _append(self, numbers: RowLists, codes: Codes) -> None:
        """Rows as they were, without their ordinals: while a snapshot is read."""
        first = self.rows.row_count
        self._remember(numbers)
        order = np.argsort(numbers, kind="stable")
        rows = (first + order).astype(np.int64)
        sorted_codes = np.ascontiguousarray(codes[order])
        lists, starts = np.unique(numbers[order], return_index=True)
        ends = [*starts[1:], len(order)]
        for number, start, end in zip(lists.tolist(), starts.tolist(), ends, strict=True):
            self._lists.invlists.add_entries(
                number,
                int(end) - start,
                faiss.swig_ptr(rows[start:end]),
                faiss.swig_ptr(sorted_codes[start:end]),
            )
        self.rows.row_count += len(numbers)


def lists_around(centroids: Vectors) -> Any:
    """Empty lists around centroids (lists, dimensions)."""
    list_count, dimensions = centroids.shape
    quantizer = faiss.IndexFlatIP(dimensions)
    quantizer.add(centroids)
    lists = faiss.IndexIVFScalarQuantizer(
        quantizer,
        dimensions,
        list_count,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
        False,  # the vectors themselves, not what remains of them beside their centroid
    )
    lists.train(centroids)  # learns nothing: float16 has no parameters
    return lists


def _centroids_name(blocks: Blocks) -> str:
    return f"centroids-{blocks.tag}"
