"""What DenseIndex asks of a FAISS index, whichever kind it is: exact, lists or a graph.

All compare unit vectors by inner product, know them by ordinal, and never move one: what is
replaced or forgotten stays as a dead row until a better index is made beside (`successor`). None is
safe to change during a search; DenseIndex sees to that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import faiss
import numpy as np
import numpy.typing as npt

from sidecar.recall.embedded.dense_blocks import Reading
from sidecar.recall.embedded.dense_rows import Ordinals
from sidecar.storage.snapshots import WritePart

Vectors = npt.NDArray[np.float32]  # (vectors, dimensions), rows normalised
Lists = npt.NDArray[np.int64]  # (vectors,)
Found = tuple[npt.NDArray[np.float32], Ordinals]  # scores and ordinals, best first

# Dead rows cost a search little and memory as much as living ones: an index is made anew without
# them when they are this share of it, and this number.
DEAD_SHARE = 0.2
DEAD_LEAST = 2000

FLOAT32, FLOAT16, LISTS, GRAPH = "fp32", "fp16", "lists", "graph"
NOTHING_FOUND: Found = (np.empty(0, np.float32), np.empty(0, np.int64))
NO_ORDINALS: Ordinals = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Parts:
    """A snapshot of an index: its files, those of them (`lasting`) whose content goes with their
    name for ever, and what else there is to say."""

    files: Mapping[str, WritePart]
    lasting: frozenset[str]
    about: Mapping[str, Any] = field(default_factory=dict)


class VectorIndex(Protocol):
    """Vectors by ordinal. `form` tells how a snapshot of it is to be read."""

    @property
    def form(self) -> str:
        """One of FLOAT32, FLOAT16, LISTS and GRAPH."""

    @property
    def count(self) -> int:
        """Vectors held."""

    @property
    def is_whole(self) -> bool:
        """Whether each vector has its row. Not so once FAISS had taken vectors when an addition
        broke off: they would be found in the name of whatever is added next."""

    def placed(self, vectors: Vectors) -> Lists | None:
        """Where `put` is to put vectors, which may be asked for during searches and changes."""

    def put(
        self, forget: Ordinals, ordinals: Ordinals, vectors: Vectors, lists: Lists | None
    ) -> None:
        """Forgets some, then adds some, none of which is held then; `lists` by `placed`. Costs
        nothing that grows with the index."""

    def search(self, vector: Vectors, depth: int, allowed: Ordinals | None) -> Found:
        """The best of `allowed` (sorted; None: all) for one vector (1, dimensions): `depth` of
        them, or all where there are no more."""

    def ordinals(self) -> Ordinals:
        """Those held, sorted."""

    def held_of(self, ordinals: Ordinals) -> Ordinals:
        """Those of some that are held."""

    def vectors(self, ordinals: Ordinals) -> Vectors:
        """The vectors of some that are held, as the index compares them."""

    def successor(self) -> Successor | None:
        """What a better index of the same vectors is made with, where it is time for one."""

    def parts(self, reading: Reading) -> Parts:
        """The snapshot of this moment, whose files may be written while searches and changes go on:
        they look at the index only within `reading()`."""


class Successor(Protocol):
    """An index in the making, by one thread: train, then add, then finish.

    `sample_count`: how many vectors, of those that are to be added, it wants to be trained with.
    """

    sample_count: int

    def train(self, sample: Vectors, check: Callable[[], None]) -> None:
        """Learns how the vectors are spread. `check` raises where it is to be given up."""

    def add(self, ordinals: Ordinals, vectors: Vectors) -> None:
        """Adds vectors, none of them twice."""

    def finish(self, sample: Vectors, check: Callable[[], None]) -> VectorIndex:
        """The index; it may try itself on some of its vectors."""


@contextlib.contextmanager
def on_one_thread() -> Iterator[None]:
    """FAISS uses this thread alone, where it would share the work among those of OpenMP.

    Of one vector's search nothing can be shared, but each scan waits until every other thread had a
    core to find that out on: 250 ms where an index is built and the cores have much else to do. So
    does an addition, for which all searches wait.
    """
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def is_due_for_dead(dead_count: int, count: int) -> bool:
    """Whether an index is to be made anew for its dead rows."""
    return dead_count >= max(DEAD_LEAST, DEAD_SHARE * count)


def float_storage(dimensions: int) -> Any:
    """FAISS's exact index of float32 vectors."""
    return faiss.IndexFlatIP(dimensions)


def half_storage(dimensions: int) -> Any:
    """FAISS's exact index of float16 vectors."""
    quantizer = faiss.ScalarQuantizer.QT_fp16
    return faiss.IndexScalarQuantizer(dimensions, quantizer, faiss.METRIC_INNER_PRODUCT)


def without_padding(answer: tuple[Any, Any], most: int) -> tuple[npt.NDArray[np.float32], Any]:
    """Scores and rows of the one query that FAISS was asked."""
    scores, rows = answer[0][0][:most], answer[1][0][:most]
    found = rows >= 0
    return scores[found], rows[found]


def merged(first: Found, second: Found, depth: int) -> Found:
    """The best of two answers."""
    scores = np.concatenate([first[0], second[0]])
    ordinals = np.concatenate([first[1], second[1]])
    best = np.argsort(-scores, kind="stable")[:depth]
    return scores[best], ordinals[best]
