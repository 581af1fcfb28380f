"""A graph (HNSW, float16), which cannot forget nor be added to while it is searched, and beside it,
scanned, what came since it was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np

from sidecar.recall.embedded.dense_blocks import Reading
from sidecar.recall.embedded.dense_exact import ExactIndex
from sidecar.recall.embedded.dense_kinds import (
    GRAPH,
    NOTHING_FOUND,
    Found,
    Lists,
    Parts,
    Successor,
    VectorIndex,
    Vectors,
    half_storage,
    merged,
    without_padding,
)
from sidecar.recall.embedded.dense_rows import Ordinals, RowNumbers, Rows

# A graph is made anew when changes since then exceed this share of it, and this number.
CHANGED_SHARE = 0.2
CHANGED_LEAST = 2000
# A filter that leaves no more than this share of the vectors, or so many, is answered by a scan:
# a graph misses such small sets.
SCAN_SHARE = 0.1
SCAN_ORDINALS = 20_000


class GraphIndex:
    """`rows` are those of the graph; `recent` holds what they do not."""

    def __init__(self, graph: Any, links: int, candidates: int) -> None:
        """`graph` is an IndexHNSWSQ of FAISS; at least `candidates` are kept in a search."""
        self.rows = Rows()
        self.recent = ExactIndex(half_storage(graph.d), better=lambda _: None)
        self._graph = graph
        self._links = links
        self._candidates = candidates

    @classmethod
    def empty(cls, dimensions: int, links: int, candidates: int) -> GraphIndex:
        """A graph without nodes."""
        graph = faiss.IndexHNSWSQ(
            dimensions, faiss.ScalarQuantizer.QT_fp16, links, faiss.METRIC_INNER_PRODUCT
        )
        graph.train(np.zeros((1, dimensions), np.float32))  # learns nothing of them
        return cls(graph, links, candidates)

    @classmethod
    def restored(
        cls, files: Mapping[str, Path], about: Mapping[str, Any], links: int, candidates: int
    ) -> GraphIndex:
        """Out of the files of a snapshot. Raises OSError, KeyError, ValueError, RuntimeError."""
        tag = about["tag"]
        index = cls(_read(files[f"graph-{tag}"]), links, candidates)
        ordinals = np.fromfile(files[f"nodes-{tag}"], "<i8").astype(np.int64)
        living = np.fromfile(files["living_nodes"], np.uint8).astype(bool)
        index.rows = Rows.restored(ordinals, living)
        index.recent = ExactIndex.restored(
            files, about, half_storage(index._graph.d), better=lambda _: None
        )
        return index

    @property
    def form(self) -> str:
        """See VectorIndex."""
        return GRAPH

    @property
    def count(self) -> int:
        """Vectors held."""
        return self.rows.count + self.recent.count

    @property
    def is_whole(self) -> bool:
        """See VectorIndex: the graph itself is never added to while it serves."""
        return self.recent.is_whole

    def placed(self, vectors: Vectors) -> None:
        """See VectorIndex: there are no lists."""

    def put(
        self, forget: Ordinals, ordinals: Ordinals, vectors: Vectors, lists: Lists | None = None
    ) -> None:
        """See VectorIndex."""
        self.rows.forget(forget)
        self.recent.put(forget, ordinals, vectors)

    def grow(self, ordinals: Ordinals, vectors: Vectors) -> None:
        """Adds nodes: while nobody searches."""
        self._graph.add(vectors)
        self.rows.append(ordinals)

    def search(self, vector: Vectors, depth: int, allowed: Ordinals | None) -> Found:
        """See VectorIndex. Scans if the graph does not give enough."""
        recent = self.recent.search(vector, depth, allowed)
        rows = None if allowed is None else self.rows.rows_of(allowed)
        rows = None if rows is None else rows[rows >= 0]
        return merged(self._search_graph(vector, depth, rows), recent, depth)

    def _search_graph(self, vector: Vectors, depth: int, rows: RowNumbers | None) -> Found:
        held = self.rows.count if rows is None else len(rows)
        most = min(depth, held)
        if most == 0:
            return NOTHING_FOUND
        selector = self.rows.living_selector() if rows is None else self.rows.selector_of(rows)
        scanned = faiss.SearchParameters(sel=selector) if selector is not None else None
        if held <= max(SCAN_ORDINALS, SCAN_SHARE * self.rows.row_count):
            return self._named(self._graph.storage.search(vector, most, params=scanned), most)
        parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=max(self._candidates, depth))
        found = self._named(self._graph.search(vector, most, params=parameters), most)
        if len(found[1]) == most:
            return found
        return self._named(self._graph.storage.search(vector, most, params=scanned), most)

    def _named(self, answer: tuple[Any, Any], most: int) -> Found:
        scores, rows = without_padding(answer, most)
        return scores, self.rows.ordinals_of(rows)

    def ordinals(self) -> Ordinals:
        """See VectorIndex."""
        return np.union1d(self.rows.held(), self.recent.ordinals())

    def held_of(self, ordinals: Ordinals) -> Ordinals:
        """See VectorIndex."""
        in_graph, recent = self.rows.rows_of(ordinals), self.recent.rows.rows_of(ordinals)
        return ordinals[(in_graph >= 0) | (recent >= 0)]

    def vectors(self, ordinals: Ordinals) -> Vectors:
        """See VectorIndex."""
        rows = self.rows.rows_of(ordinals)
        in_graph = rows >= 0
        vectors = np.empty((len(ordinals), self._graph.d), dtype=np.float32)
        vectors[~in_graph] = self.recent.vectors(ordinals[~in_graph])
        if in_graph.any():
            vectors[in_graph] = self._graph.reconstruct_batch(rows[in_graph])
        return vectors

    def successor(self) -> Successor | None:
        """A graph of all vectors, once many have changed."""
        changed = self.rows.dead_count + self.recent.rows.row_count
        if changed < max(CHANGED_LEAST, CHANGED_SHARE * self.rows.row_count):
            return None
        return GraphSuccessor(self._graph.d, self._links, self._candidates)

    def parts(self, reading: Reading) -> Parts:
        """See VectorIndex."""
        recent = self.recent.parts(reading)
        tag = recent.about["tag"]
        nodes = self.rows.between(0, self.rows.row_count).astype("<i8").tobytes()
        living = self.rows.living().tobytes()
        lasting = {
            f"graph-{tag}": lambda file: _write(self._graph, file),
            f"nodes-{tag}": lambda file: file.write(nodes),
        }
        files = {**recent.files, **lasting, "living_nodes": lambda file: file.write(living)}
        return Parts(files, recent.lasting | frozenset(lasting), recent.about)


class GraphSuccessor:
    """A graph in the making."""

    sample_count = 0

    def __init__(self, dimensions: int, links: int, candidates: int) -> None:
        self._made = GraphIndex.empty(dimensions, links, candidates)

    def train(self, sample: Vectors, check: Callable[[], None]) -> None:
        """See Successor: nothing is to be learnt."""

    def add(self, ordinals: Ordinals, vectors: Vectors) -> None:
        """See Successor."""
        self._made.grow(ordinals, vectors)

    def finish(self, sample: Vectors, check: Callable[[], None]) -> VectorIndex:
        """See Successor."""
        return self._made


def _write(index: Any, file: BinaryIO) -> None:
    """Through Python's file: FAISS's own tells of a full disk as RuntimeError, or, where the last
    bytes of a small index are concerned, not at all."""
    faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def _read(path: Path) -> Any:
    """Raises OSError for what the disk says, RuntimeError for what FAISS makes of the bytes."""
    with path.open("rb") as file:
        return faiss.read_index(faiss.PyCallbackIOReader(file.read))
