"""Qdrant Edge as a peer of scale.py: Qdrant's storage and search in a library, without a server.

Vectors: HNSW by cosine at its defaults (m 16, ef_construct 100, ef 100 at a search). Its lexical
leg is a sparse vector of its own BM25 embedder: true IDF, hashed terms, and an average document
length that is fixed (256), so not quite BM25. `share` has an integer index; fusion is its RRF with
60 by prefetches of 100. A write goes to its log and is then flushed, as a server does not; it
optimizes only when told to, here after every twenty writes and when all is loaded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from qdrant_edge import (
    Bm25,
    Bm25Config,
    Distance,
    EdgeConfig,
    EdgeShard,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    Fusion,
    Modifier,
    PayloadSchemaType,
    Point,
    Prefetch,
    Query,
    QueryRequest,
    RangeFloat,
    ScoredPoint,
    UpdateOperation,
)
from scale_contestants import DEPTH, in_batches
from scale_corpus import Text, Vectors

BATCH_DOCUMENTS = 500
WRITES_BETWEEN_OPTIMIZATIONS = 20
RRF_CONSTANT = 60


class QdrantEdge:
    """A shard in this process."""

    name = "qdrant edge"
    version = version("qdrant-edge-py")

    def __init__(self, folder: Path, dimensions: int) -> None:
        self._folder = folder / "shard"
        self._folder.mkdir()
        config = EdgeConfig(
            vectors={"dense": EdgeVectorParams(size=dimensions, distance=Distance.Cosine)},
            sparse_vectors={"lexical": EdgeSparseVectorParams(modifier=Modifier.Idf)},
        )
        self._shard = EdgeShard.create(str(self._folder), config)
        index = UpdateOperation.create_field_index("share", PayloadSchemaType.Integer)
        self._shard.update(index)
        self._bm25 = Bm25(Bm25Config(language="english"))
        self._writes = 0
        self._any_vector: list[float] = []

    def load(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        for some, theirs in in_batches(texts, vectors, BATCH_DOCUMENTS):
            self._shard.update(self._upsert(some, theirs))
        self._shard.flush()
        self._shard.optimize()
        self._any_vector = vectors[0].tolist()

    def write(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        self._shard.update(self._upsert(texts, vectors))
        self._shard.flush()
        self._writes += 1
        if self._writes % WRITES_BETWEEN_OPTIMIZATIONS == 0:
            self._shard.optimize()

    def hybrid(self, query: str, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant."""
        passing = _filter(below)
        legs = [
            Query.Nearest(vector.tolist(), using="dense"),
            Query.Nearest(self._bm25.embed_query(query), using="lexical"),
        ]
        request = QueryRequest(
            prefetches=[Prefetch(query=leg, limit=DEPTH, filter=passing) for leg in legs],
            query=Fusion.Rrf(k=RRF_CONSTANT),
            limit=DEPTH,
        )
        return _doc_ids(self._shard.query(request))

    def dense(self, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant."""
        return self._nearest(vector.tolist(), below)

    def restart(self) -> float:
        """See Contestant."""
        self._shard.close()
        started = time.perf_counter()
        self._shard = EdgeShard.load(str(self._folder))
        self._nearest(self._any_vector, None)
        return time.perf_counter() - started

    def process_id(self) -> int:
        """See Contestant."""
        return os.getpid()

    def close(self) -> None:
        """See Contestant."""
        self._shard.close()

    def _nearest(self, vector: list[float], below: int | None) -> list[str]:
        query = Query.Nearest(vector, using="dense")
        request = QueryRequest(query=query, limit=DEPTH, filter=_filter(below))
        return _doc_ids(self._shard.query(request))

    def _upsert(self, texts: Sequence[Text], vectors: Vectors) -> UpdateOperation:
        points = [
            Point(
                int(text.doc_id[1:]),  # Ids are numbers or UUIDs there.
                {"dense": vector, "lexical": self._bm25.embed_document(text.text)},
                {"share": text.share, "text": text.text},
            )
            for text, vector in zip(texts, vectors.tolist(), strict=True)
        ]
        return UpdateOperation.upsert_points(points)


def _filter(below: int | None) -> Filter | None:
    if below is None:
        return None
    return Filter(must=[FieldCondition(key="share", range=RangeFloat(lt=below))])


def _doc_ids(points: Sequence[ScoredPoint]) -> list[str]:
    return [f"d{point.id:07}" for point in points]
