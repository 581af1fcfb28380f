"""Which kind of index has a collection's vectors, by the configuration and how many there are.

    flat    exact, float32                fp16    exact, float16
    auto    exact, float16, up to `exact_vectors`; lists above
    ivf     the same, lists as soon as they can be trained
    hnsw    a graph, from the start

A snapshot is read into what it was of, if that is something that the configured kind may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from sidecar.config import DenseIndexConfig
from sidecar.recall.embedded.dense_exact import ExactIndex, ExactSuccessor, compacted
from sidecar.recall.embedded.dense_graph import GraphIndex
from sidecar.recall.embedded.dense_kinds import (
    FLOAT16,
    FLOAT32,
    GRAPH,
    LISTS,
    Successor,
    VectorIndex,
    float_storage,
    half_storage,
)
from sidecar.recall.embedded.dense_lists import ListsIndex
from sidecar.recall.embedded.dense_training import ListsSuccessor

FORMS = {
    "flat": (FLOAT32,),
    "fp16": (FLOAT16,),
    "auto": (FLOAT16, LISTS),
    "ivf": (FLOAT16, LISTS),
    "hnsw": (GRAPH,),
}
# FAISS asks for at least so many training vectors a list (Clustering min_points_per_centroid).
LEAST_VECTORS_PER_LIST = 39
# "ivf" without a number of lists has them from so many vectors on.
IVF_VECTORS = 10_000
# The exact snapshots of earlier versions, in the form that they are read into.
_EARLIER = {"flat": FLOAT32, "fp16": FLOAT16}
_EARLIER_CHUNK = 8192


class EarlierFormError(Exception):
    """A snapshot of an earlier version, of a kind whose files are not read any more."""


def empty_index(dimensions: int, config: DenseIndexConfig) -> VectorIndex:
    """An index of the configured kind without vectors."""
    if config.kind == "hnsw":
        return GraphIndex.empty(dimensions, config.hnsw_links, config.hnsw_search)
    form = FORMS[config.kind][0]
    return ExactIndex(_storage(form, dimensions), _exact_better(config))


def form_of(about: Mapping[str, Any]) -> str:
    """What a snapshot is of, by what is said about it. Raises EarlierFormError."""
    if "form" in about:
        return str(about["form"])
    kind = str(about.get("kind"))
    if kind not in _EARLIER:
        raise EarlierFormError(f"its index of kind {kind!r} is of an earlier version")
    return _EARLIER[kind]


def restored_index(
    files: Mapping[str, Path],
    about: Mapping[str, Any],
    dimensions: int,
    config: DenseIndexConfig,
) -> VectorIndex:
    """An index out of the files of a snapshot, of a form that the configured kind may have.

    Raises OSError, KeyError, ValueError, RuntimeError, MemoryError, EarlierFormError.
    """
    form = form_of(about)
    if form == GRAPH:
        return GraphIndex.restored(files, about, config.hnsw_links, config.hnsw_search)
    if form == LISTS:
        return ListsIndex.restored(files, about, dimensions, _lists_better(config))
    storage, better = _storage(form, dimensions), _exact_better(config)
    if "form" in about:
        return ExactIndex.restored(files, about, storage, better)
    return _read_earlier(files["exact"], ExactIndex(storage, better))


def _storage(form: str, dimensions: int) -> Any:
    return float_storage(dimensions) if form == FLOAT32 else half_storage(dimensions)


def _read_earlier(path: Path, index: ExactIndex) -> ExactIndex:
    """A whole index as FAISS writes it, with ordinals in place of rows."""
    with path.open("rb") as file:
        earlier = faiss.read_index(faiss.PyCallbackIOReader(file.read))
    ordinals = faiss.vector_to_array(earlier.id_map)
    for first in range(0, len(ordinals), _EARLIER_CHUNK):
        chunk = ordinals[first : first + _EARLIER_CHUNK]
        vectors = earlier.index.reconstruct_n(first, len(chunk))
        index.put(chunk[:0], chunk, np.ascontiguousarray(vectors))
    return index


def _lists_from(config: DenseIndexConfig) -> int:
    """The number of vectors from which on there are lists."""
    if config.kind == "auto":
        return max(1, config.exact_vectors)
    return config.ivf_lists * LEAST_VECTORS_PER_LIST or IVF_VECTORS


def _new_lists(dimensions: int, count: int, config: DenseIndexConfig) -> Successor:
    return ListsSuccessor(
        dimensions, count, config.ivf_lists, config.ivf_probes, _lists_better(config)
    )


def _exact_better(config: DenseIndexConfig) -> Any:
    has_lists = LISTS in FORMS[config.kind]

    def better(index: ExactIndex) -> Successor | None:
        if has_lists and index.count >= _lists_from(config):
            return _new_lists(index.dimensions, index.count, config)
        return compacted(index)

    return better


def _lists_better(config: DenseIndexConfig) -> Any:
    def better(index: ListsIndex) -> Successor | None:
        if index.count < _lists_from(config) // 2:
            return ExactSuccessor(half_storage(index.dimensions), _exact_better(config))
        if index.is_outgrown:
            return _new_lists(index.dimensions, index.count, config)
        return None

    return better
