"""Lists in the making: k-means over some vectors, then each vector to the list of its centroid."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import faiss

from sidecar.recall.embedded.dense_kinds import VectorIndex, Vectors
from sidecar.recall.embedded.dense_lists import ListsBetter, ListsIndex, lists_around
from sidecar.recall.embedded.dense_reach import (
    TARGET_RECALL_OF_NOISE,
    TRIED_VECTORS,
    Reach,
    noisy,
)
from sidecar.recall.embedded.dense_rows import Ordinals

# Lists for n vectors: LISTS_OF_ROOT * sqrt(n); see dense_lists for what 4.0 would cost a search.
LISTS_OF_ROOT = 10.0
TRAINING_VECTORS_PER_LIST = 40
MAX_TRAINING_VECTORS = 100_000
TRAINING_ROUNDS = 6


class ListsSuccessor:
    """Lists in the making, for about `count` vectors."""

    def __init__(
        self, dimensions: int, count: int, list_count: int, probes: int, better: ListsBetter
    ) -> None:
        """`list_count` 0: by the number of vectors; `probes` 0: found out at the end."""
        self._list_count = list_count or max(1, round(LISTS_OF_ROOT * math.sqrt(count)))
        self._dimensions = dimensions
        self._count = count
        self._probes = probes
        self._better = better
        wanted = min(TRAINING_VECTORS_PER_LIST * self._list_count, MAX_TRAINING_VECTORS)
        self.sample_count = max(self._list_count, wanted)

    def train(self, sample: Vectors, check: Callable[[], None]) -> None:
        """See Successor."""
        list_count = min(self._list_count, len(sample))
        lists = lists_around(trained_centroids(sample, list_count, check))
        lists.set_direct_map_type(faiss.DirectMap.Array)
        reach = Reach(((1, self._probes or list_count),))
        self._made = ListsIndex(lists, reach, self._count, self._better)

    def add(self, ordinals: Ordinals, vectors: Vectors) -> None:
        """See Successor."""
        self._made.put(ordinals, ordinals, vectors)

    def finish(self, sample: Vectors, check: Callable[[], None]) -> VectorIndex:
        """See Successor."""
        if not self._probes:

            @contextlib.contextmanager
            def reading() -> Iterator[None]:
                check()
                yield

            queries = noisy(sample[:TRIED_VECTORS])
            self._made.find_reach(queries, TARGET_RECALL_OF_NOISE, reading)
        return self._made


def trained_centroids(sample: Vectors, list_count: int, check: Callable[[], None]) -> Vectors:
    """Spherical k-means. A round at a time, since FAISS ends no sooner than after its rounds."""
    clustering = faiss.Clustering(sample.shape[1], list_count)
    clustering.niter = 1
    clustering.spherical = True
    clustering.min_points_per_centroid = 1  # else it writes a warning to the standard error
    clustering.max_points_per_centroid = len(sample)
    assigning = faiss.IndexFlatIP(sample.shape[1])
    for _ in range(TRAINING_ROUNDS):
        check()
        clustering.train(sample, assigning)
    centroids: Vectors = faiss.vector_to_array(clustering.centroids)
    return centroids.reshape(list_count, -1)
