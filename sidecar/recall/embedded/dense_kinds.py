"""The kinds of FAISS index, behind one interface: exact (flat, fp16), ivf and hnsw.

All compare unit vectors by inner product and know them by ordinal. None is safe to change during a
search; DenseIndex sees to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import faiss
import numpy as np
import numpy.typing as npt

from sidecar.config import DenseIndexConfig
from sidecar.storage.snapshots import WritePart

Vectors = npt.NDArray[np.float32]  # (vectors, dimensions), rows normalised
Ordinals = npt.NDArray[np.int64]  # (vectors,)
Found = tuple[npt.NDArray[np.float32], Ordinals]  # scores and ordinals, best first
Parts = Mapping[str, WritePart]

# FAISS asks for at least so many training vectors a list (Clustering min_points_per_centroid).
IVF_TRAINING_VECTORS_PER_LIST = 39
# An hnsw graph is built anew when changes since then exceed this share of it, and this number.
HNSW_CHANGED_SHARE = 0.2
HNSW_CHANGED_LEAST = 2000
# A filter that leaves no more than this is scanned: graphs and lists miss such small sets.
SCAN_ORDINALS = 20_000


class VectorIndex(Protocol):
    """Vectors by ordinal."""

    @property
    def count(self) -> int:
        """Vectors held."""

    def replace(self, forget: Ordinals, ordinals: Ordinals, vectors: Vectors) -> None:
        """Forgets some, then adds some; none of those added may be held after the first step."""

    def search(self, vector: Vectors, depth: int, allowed: Ordinals | None) -> Found:
        """The best of `allowed` (sorted, not empty; None: all) for one vector (1, dimensions)."""

    def ordinals(self) -> Ordinals:
        """Those held, sorted."""

    def vectors(self, ordinals: Ordinals) -> Vectors:
        """The vectors of some that are held, as the index compares them."""

    def rebuilt(self) -> VectorIndex | None:
        """A better index of the same vectors, where it is time for one; this one stays."""

    def parts(self) -> Parts:
        """The files of a snapshot."""


def empty_index(dimensions: int, config: DenseIndexConfig) -> VectorIndex:
    """An index of the configured kind without vectors."""
    if config.kind == "hnsw":
        return HnswIndex.empty(dimensions, config)
    if config.kind == "ivf":
        return UntrainedIvfIndex(_flat(dimensions), config)
    return ExactIndex(_flat(dimensions) if config.kind == "flat" else _half(dimensions))


def restored_index(files: Mapping[str, Path], config: DenseIndexConfig) -> VectorIndex:
    """An index out of the files of a snapshot of the same kind."""
    if config.kind == "hnsw":
        return HnswIndex.restored(files, config)
    if config.kind != "ivf":
        return ExactIndex(_read(files["exact"]))
    if "exact" in files:
        return UntrainedIvfIndex(_read(files["exact"]), config)
    return IvfIndex(_read(files["ivf"]), config)


class ExactIndex:
    """A scan of all vectors, as float32 or as float16."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @property
    def count(self) -> int:
        """Vectors held."""
        return int(self._index.ntotal)

    def replace(self, forget: Ordinals, ordinals: Ordinals, vectors: Vectors) -> None:
        """See VectorIndex."""
        if len(forget) and self.count:
            self._index.remove_ids(faiss.IDSelectorBatch(forget))
        if len(ordinals):
            self._index.add_with_ids(vectors, ordinals)

    def search(self, vector: Vectors, depth: int, allowed: Ordinals | None) -> Found:
        """See VectorIndex."""
        if self.count == 0:
            return _NONE
        if allowed is None:
            return _found(self._index.search(vector, min(depth, self.count)), depth)
        parameters = faiss.SearchParameters(sel=_selector(_bits(allowed)))
        most = min(depth, len(allowed))
        return _found(self._index.search(vector, most, params=parameters), most)

    def ordinals(self) -> Ordinals:
        """See VectorIndex."""
        return np.sort(faiss.vector_to_array(self._index.id_map))

    def vectors(self, ordinals: Ordinals) -> Vectors:
        """See VectorIndex."""
        return _reconstructed(self._index, ordinals)

    def rebuilt(self) -> VectorIndex | None:
        """Never: a scan does not age."""
        return None

    def parts(self) -> Parts:
        """See VectorIndex."""
        return {"exact": lambda file: _write(self._index, file)}

    @property
    def faiss_index(self) -> Any:
        """What FAISS holds, to be copied to a GPU."""
        return self._index


class UntrainedIvfIndex(ExactIndex):
    """A scan until there are vectors enough to train the lists of an ivf index."""

    def __init__(self, index: Any, config: DenseIndexConfig) -> None:
        super().__init__(index)
        self._config = config

    def rebuilt(self) -> VectorIndex | None:
        """The trained index, once there are enough vectors for it."""
        if self.count < self._config.ivf_lists * IVF_TRAINING_VECTORS_PER_LIST:
            return None
        ordinals = self.ordinals()
        return IvfIndex.trained(ordinals, self.vectors(ordinals), self._config)


class IvfIndex:
    """Inverted lists around trained centroids; a search reads some of them."""

    def __init__(self, index: Any, config: DenseIndexConfig) -> None:
        self._index = index
        self._config = config

    @classmethod
    def trained(cls, ordinals: Ordinals, vectors: Vectors, config: DenseIndexConfig) -> Self:
        """An index with its lists trained on the vectors that it holds."""
        dimensions = vectors.shape[1]
        index = faiss.IndexIVFFlat(
            faiss.IndexFlatIP(dimensions), dimensions, config.ivf_lists, faiss.METRIC_INNER_PRODUCT
        )
        index.set_direct_map_type(faiss.DirectMap.Hashtable)
        index.train(vectors)
        index.add_with_ids(vectors, ordinals)
        return cls(index, config)

    @property
    def count(self) -> int:
        """Vectors held."""
        return int(self._index.ntotal)

    def replace(self, forget: Ordinals, ordinals: Ordinals, vectors: Vectors) -> None:
        """See VectorIndex."""
        if len(forget) and self.count:
            self._index.remove_ids(forget)
        if len(ordinals):
            self._index.add_with_ids(vectors, ordinals)

    def search(self, vector: Vectors, depth: int, allowed: Ordinals | None) -> Found:
        """See VectorIndex. Reads all lists if the configured number does not give enough."""
        if allowed is not None and len(allowed) <= SCAN_ORDINALS:
            return _scanned(self, vector, depth, allowed)
        most = min(depth, self.count if allowed is None else len(allowed))
        found = self._probed(vector, most, allowed, self._config.ivf_probes)
        if len(found[1]) < most:
            found = self._probed(vector, most, allowed, self._config.ivf_lists)
        return found

    def _probed(self, vector: Vectors, most: int, allowed: Ordinals | None, probes: int) -> Found:
        if most == 0:
            return _NONE
        selector = None if allowed is None else _selector(_bits(allowed))
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=probes)
        return _found(self._index.search(vector, most, params=parameters), most)

    def ordinals(self) -> Ordinals:
        """See VectorIndex."""
        lists = self._index.invlists
        held = [_list_ordinals(lists, number) for number in range(lists.nlist)]
        return np.sort(np.concatenate([np.empty(0, np.int64), *held]))

    def vectors(self, ordinals: Ordinals) -> Vectors:
        """See VectorIndex."""
        return _reconstructed(self._index, ordinals)

    def rebuilt(self) -> VectorIndex | None:
        """Never: the lists stay as they were trained."""
        return None

    def parts(self) -> Parts:
        """See VectorIndex."""
        return {"ivf": lambda file: _write(self._index, file)}


class HnswIndex:
    """A graph, which cannot forget, and beside it the vectors changed since it was built.

    `stale` are ordinals whose vector in the graph no longer counts.
    """

    def __init__(
        self, graph: Any, recent: ExactIndex, stale: Ordinals, config: DenseIndexConfig
    ) -> None:
        self._graph = graph
        self._recent = recent
        self._stale = stale
        self._config = config
        self._in_graph = np.sort(faiss.vector_to_array(graph.id_map))
        self._living = _bits(np.setdiff1d(self._in_graph, stale, assume_unique=True))

    @classmethod
    def empty(cls, dimensions: int, config: DenseIndexConfig) -> Self:
        """A graph without nodes."""
        graph = faiss.IndexIDMap2(
            faiss.IndexHNSWFlat(dimensions, config.hnsw_links, faiss.METRIC_INNER_PRODUCT)
        )
        return cls(graph, ExactIndex(_flat(dimensions)), np.empty(0, np.int64), config)

    @classmethod
    def restored(cls, files: Mapping[str, Path], config: DenseIndexConfig) -> Self:
        """Out of the files of a snapshot."""
        recent = ExactIndex(_read(files["recent"]))
        stale = np.fromfile(files["stale"], dtype="<i8").astype(np.int64)
        return cls(_read(files["graph"]), recent, stale, config)

    @property
    def count(self) -> int:
        """Vectors held."""
        return len(self._in_graph) - len(self._stale) + self._recent.count

    def replace(self, forget: Ordinals, ordinals: Ordinals, vectors: Vectors) -> None:
        """See VectorIndex."""
        gone = np.intersect1d(forget, self._in_graph)
        self._stale = np.union1d(self._stale, gone)
        self._living[gone] = False
        self._recent.replace(forget, ordinals, vectors)

    def search(self, vector: Vectors, depth: int, allowed: Ordinals | None) -> Found:
        """See VectorIndex. Scans if the graph does not give enough."""
        if allowed is not None and len(allowed) <= SCAN_ORDINALS:
            return _scanned(self, vector, depth, allowed)
        recent = self._recent.search(vector, depth, allowed)
        found = _merged(self._search_graph(vector, depth, allowed), recent, depth)
        most = min(depth, self.count if allowed is None else len(allowed))
        if len(found[1]) < most:
            return _scanned(self, vector, depth, self.ordinals() if allowed is None else allowed)
        return found

    def _search_graph(self, vector: Vectors, depth: int, allowed: Ordinals | None) -> Found:
        passing = self._living
        if allowed is not None:
            passing = passing & _bits(allowed, len(passing))
        most = min(depth, int(np.count_nonzero(passing)))
        if most == 0:
            return _NONE
        whole = allowed is None and not len(self._stale)
        parameters = faiss.SearchParametersHNSW(
            sel=None if whole else _selector(passing),
            efSearch=max(self._config.hnsw_search, depth),
        )
        return _found(self._graph.search(vector, most, params=parameters), most)

    def ordinals(self) -> Ordinals:
        """See VectorIndex."""
        return np.union1d(np.flatnonzero(self._living), self._recent.ordinals())

    def vectors(self, ordinals: Ordinals) -> Vectors:
        """See VectorIndex."""
        is_recent = np.isin(ordinals, self._recent.ordinals())
        vectors = np.empty((len(ordinals), self._graph.d), dtype=np.float32)
        vectors[is_recent] = self._recent.vectors(ordinals[is_recent])
        vectors[~is_recent] = _reconstructed(self._graph, ordinals[~is_recent])
        return vectors

    def rebuilt(self) -> VectorIndex | None:
        """A graph of all vectors, once many have changed."""
        changed = len(self._stale) + self._recent.count
        if changed < max(HNSW_CHANGED_LEAST, HNSW_CHANGED_SHARE * len(self._in_graph)):
            return None
        fresh = HnswIndex.empty(self._graph.d, self._config)
        ordinals = self.ordinals()
        if len(ordinals):
            fresh._graph.add_with_ids(self.vectors(ordinals), ordinals)
        return HnswIndex(fresh._graph, fresh._recent, fresh._stale, self._config)

    def parts(self) -> Parts:
        """See VectorIndex."""
        return {
            "graph": lambda file: _write(self._graph, file),
            "stale": lambda file: file.write(self._stale.astype("<i8").tobytes()),
            "recent": self._recent.parts()["exact"],
        }


_NONE: Found = (np.empty(0, np.float32), np.empty(0, np.int64))


def _write(index: Any, file: BinaryIO) -> None:
    """Through Python's file: FAISS's own tells of a full disk as RuntimeError, or, where the last
    bytes of a small index are concerned, not at all."""
    faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def _read(path: Path) -> Any:
    """Raises OSError for what the disk says, RuntimeError for what FAISS makes of the bytes."""
    with path.open("rb") as file:
        return faiss.read_index(faiss.PyCallbackIOReader(file.read))


def _flat(dimensions: int) -> Any:
    return faiss.IndexIDMap2(faiss.IndexFlatIP(dimensions))


def _half(dimensions: int) -> Any:
    quantizer = faiss.ScalarQuantizer.QT_fp16
    return faiss.IndexIDMap2(
        faiss.IndexScalarQuantizer(dimensions, quantizer, faiss.METRIC_INNER_PRODUCT)
    )


def _bits(ordinals: Ordinals, length: int | None = None) -> npt.NDArray[np.bool_]:
    """True at each of some sorted ordinals; up to the last one, or of a given length."""
    if length is None:
        length = int(ordinals[-1]) + 1 if len(ordinals) else 0
    bits = np.zeros(length, dtype=bool)
    bits[ordinals[ordinals < length]] = True
    return bits


def _selector(passing: npt.NDArray[np.bool_]) -> Any:
    """FAISS's bitmap of the ordinals that pass."""
    return faiss.IDSelectorBitmap(np.packbits(passing, bitorder="little"))


def _found(answer: tuple[Any, Any], most: int) -> Found:
    """The one row of FAISS's answer without its padding."""
    scores, ordinals = answer[0][0][:most], answer[1][0][:most]
    held = ordinals >= 0
    return scores[held], ordinals[held]


def _reconstructed(index: Any, ordinals: Ordinals) -> Vectors:
    if not len(ordinals):
        return np.empty((0, index.d), dtype=np.float32)
    vectors: Vectors = index.reconstruct_batch(ordinals)
    return vectors


def _scanned(index: VectorIndex, vector: Vectors, depth: int, allowed: Ordinals) -> Found:
    """The best of `allowed` by comparing each one that the index holds."""
    held = np.intersect1d(allowed, index.ordinals(), assume_unique=True)
    if not len(held):
        return _NONE
    scores = index.vectors(held) @ vector[0]
    best = np.argsort(-scores, kind="stable")[:depth]
    return scores[best], held[best]


def _merged(first: Found, second: Found, depth: int) -> Found:
    scores = np.concatenate([first[0], second[0]])
    ordinals = np.concatenate([first[1], second[1]])
    best = np.argsort(-scores, kind="stable")[:depth]
    return scores[best], ordinals[best]


def _list_ordinals(lists: Any, number: int) -> Ordinals:
    size = lists.list_size(number)
    if size == 0:
        return np.empty(0, np.int64)
    return np.array(faiss.rev_swig_ptr(lists.get_ids(number), size), dtype=np.int64)
