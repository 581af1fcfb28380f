"""LanceDB as a peer of scale.py: a library, whose hybrid search is its own.

Indexes: IVF_HNSW_SQ by cosine at its defaults (one graph to 1,048,576 rows, m 20, ef_construction
300, scalar quantization), which its documentation names for recall; its full-text index at its
defaults (BM25, stemmed); BTREE on `share` and on the ids that replaced documents are joined by.
Searches are at its defaults (ef 150 for 100 hits, prefiltered, RRF with 60). A write is one version
of the table (merge_insert); all is optimized after every twenty, as its documentation advises.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
from scale_contestants import DEPTH, in_batches
from scale_corpus import Text, Vectors

os.environ.setdefault("LANCEDB_LOG", "error")  # Read at its import; it warns at each search.
import lancedb
from lancedb.index import FTS, BTree, HnswSq

BATCH_DOCUMENTS = 10_000
WRITES_BETWEEN_OPTIMIZATIONS = 20
INDEXES = {
    "vector": HnswSq(distance_type="cosine"),
    "text": FTS(),
    "share": BTree(),
    "doc_id": BTree(),
}


class LanceDB:
    """A table in this process."""

    name = "lancedb"
    version = version("lancedb")

    def __init__(self, folder: Path, dimensions: int) -> None:
        self._folder = folder
        self._schema = pa.schema(
            [
                pa.field("doc_id", pa.string()),
                pa.field("text", pa.string()),
                pa.field("share", pa.int64()),
                pa.field("vector", pa.list_(pa.float32(), dimensions)),
            ]
        )
        self._table = lancedb.connect(folder).create_table("scale", schema=self._schema)
        self._writes = 0
        self._any_vector: Vectors | None = None

    def load(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        for some, theirs in in_batches(texts, vectors, BATCH_DOCUMENTS):
            self._table.add(self._rows(some, theirs))
        for column, index in INDEXES.items():
            self._table.create_index(column, config=index)
        self._any_vector = vectors[0]

    def write(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        merge = self._table.merge_insert("doc_id").when_matched_update_all()
        merge.when_not_matched_insert_all().execute(self._rows(texts, vectors))
        self._writes += 1
        if self._writes % WRITES_BETWEEN_OPTIMIZATIONS == 0:
            self._table.optimize()

    def hybrid(self, query: str, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant."""
        search = self._table.search(
            query_type="hybrid", vector_column_name="vector", fts_columns="text"
        )
        return _found(search.vector(vector).text(query), below)

    def dense(self, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant."""
        return _found(self._table.search(vector, vector_column_name="vector"), below)

    def restart(self) -> float:
        """See Contestant."""
        del self._table
        started = time.perf_counter()
        self._table = lancedb.connect(self._folder).open_table("scale")
        self.dense(self._any_vector, None)
        return time.perf_counter() - started

    def process_id(self) -> int:
        """See Contestant."""
        return os.getpid()

    def close(self) -> None:
        """See Contestant."""
        del self._table

    def _rows(self, texts: Sequence[Text], vectors: Vectors) -> pa.Table:
        columns = [
            pa.array([text.doc_id for text in texts]),
            pa.array([text.text for text in texts]),
            pa.array([text.share for text in texts]),
            pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
        ]
        return pa.Table.from_arrays(columns, schema=self._schema)


def _found(search: lancedb.query.LanceQueryBuilder, below: int | None) -> list[str]:
    if below is not None:
        search = search.where(f"share < {below}")
    found = search.select(["doc_id"]).limit(DEPTH).to_arrow()
    return list(found["doc_id"].to_pylist())
