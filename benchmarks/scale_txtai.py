"""txtai as a peer of scale.py: a library, with its own hybrid search over content in SQLite.

Its defaults: Faiss over vectors from outside (exact to 5,000 documents, then IVF of 4 sqrt(n)
lists, of which it searches by its own rule), and its BM25, whose normalised scores are averaged
with those of the vectors. A filter is SQL over the best thousand of each leg, so that few are left
of a narrow one. It is not made for several threads: searches and writes take turns. A write is an
upsert in memory; `save`, which writes all anew, is called once all is loaded and not at each write,
so that what was written is not durable.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scale_contestants import DEPTH
from scale_corpus import Text, Vectors
from txtai import Embeddings

SQL = "select id from txtai where similar(:query)"
DENSE_ALONE = 1.0  # the weight of vectors; by default half


class Txtai:
    """An index in this process."""

    name = "txtai"
    version = version("txtai")

    def __init__(self, folder: Path, dimensions: int) -> None:
        self._folder = folder / "index"
        self._lock = threading.Lock()
        self._encoded: Iterator[Vectors] = iter(())
        config = {
            "method": "external",
            "transform": self._transform(),
            "content": True,
            "hybrid": True,
        }
        self._config = config
        self._embeddings = Embeddings(config)
        self._any_vector = np.eye(1, dimensions, dtype=np.float32)[0]

    def load(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        self._encoded = iter(vectors)
        self._embeddings.index(_rows(texts))
        self._embeddings.save(str(self._folder))

    def write(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        with self._lock:
            self._encoded = iter(vectors)
            self._embeddings.upsert(_rows(texts))

    def hybrid(self, query: str, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant."""
        return self._search(query, vector, below, None)

    def dense(self, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant."""
        return self._search("", vector, below, DENSE_ALONE)

    def restart(self) -> float:
        """See Contestant."""
        self._embeddings.save(str(self._folder))
        self._embeddings.close()
        started = time.perf_counter()
        self._embeddings = Embeddings()
        self._embeddings.load(str(self._folder), config={"transform": self._config["transform"]})
        self.dense(self._any_vector, None)
        return time.perf_counter() - started

    def process_id(self) -> int:
        """See Contestant."""
        return os.getpid()

    def close(self) -> None:
        """See Contestant."""
        self._embeddings.close()

    def _search(
        self, query: str, vector: Vectors, below: int | None, weights: float | None
    ) -> list[str]:
        sql = SQL if below is None else f"{SQL} and share < {below}"
        with self._lock:
            self._encoded = iter([vector])
            found = self._embeddings.search(
                sql, limit=DEPTH, weights=weights, parameters={"query": query}
            )
        return [row["id"] for row in found]

    def _transform(self) -> Any:
        def transform(texts: Sequence[str]) -> Vectors:
            """Vectors come in the order in which it asks for those of texts."""
            return np.stack([next(self._encoded) for _ in texts])

        return transform


def _rows(texts: Sequence[Text]) -> Iterator[tuple[str, dict[str, Any], None]]:
    for text in texts:
        yield text.doc_id, {"text": text.text, "share": text.share}, None
