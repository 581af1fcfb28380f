"""milvus-lite's server as a peer of scale.py: Milvus' interface written anew, over gRPC.

It is no Milvus: figures of it say nothing of Milvus itself. Vectors: HNSW by cosine (M 16,
efConstruction 200, ef 128 at a search, of which a narrow filter leaves few); BM25 by its function
over its standard analyzer, since it refuses the one for English; `share` is scanned; fusion is its
RRFRanker with 60. Its log is not flushed to the disk at each write, which its server offers no
setting for.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import milvus_lite  # noqa: F401  (what its server is started from)
from pymilvus import (
    AnnSearchRequest,
    DataType,
    Function,
    FunctionType,
    MilvusClient,
    RRFRanker,
)
from scale_contestants import DEPTH, in_batches
from scale_corpus import Text, Vectors
from servers import free_port

BATCH_DOCUMENTS = 500
MAX_TEXT_BYTES = 65_535
HNSW = {"M": 16, "efConstruction": 200}
EF = 128
RRF_CONSTANT = 60


class MilvusLite:
    """A server process, over gRPC."""

    name = "milvus-lite"
    version = version("milvus-lite")

    def __init__(self, folder: Path, dimensions: int) -> None:
        self._folder = folder
        self._any_vector = [1.0] + [0.0] * (dimensions - 1)
        self._start()
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("doc_id", DataType.VARCHAR, is_primary=True, max_length=64)
        schema.add_field("share", DataType.INT64)
        schema.add_field("text", DataType.VARCHAR, max_length=MAX_TEXT_BYTES, enable_analyzer=True)
        schema.add_field("lexical", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_field("dense", DataType.FLOAT_VECTOR, dim=dimensions)
        schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["lexical"]))
        indexes = MilvusClient.prepare_index_params()
        indexes.add_index("dense", "HNSW", metric_type="COSINE", params=HNSW)
        indexes.add_index("lexical", "SPARSE_INVERTED_INDEX", metric_type="BM25")
        self._client.create_collection("scale", schema=schema, index_params=indexes)

    def load(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        for some, theirs in in_batches(texts, vectors, BATCH_DOCUMENTS):
            self._client.insert("scale", _rows(some, theirs))
        self._client.flush("scale")
        self._client.load_collection("scale")

    def write(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        self._client.upsert("scale", _rows(texts, vectors))

    def hybrid(self, query: str, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant."""
        passing = _expression(below)
        legs = [
            AnnSearchRequest([vector.tolist()], "dense", _params(), DEPTH, expr=passing),
            AnnSearchRequest([query], "lexical", {"metric_type": "BM25"}, DEPTH, expr=passing),
        ]
        (hits,) = self._client.hybrid_search(
            "scale", legs, RRFRanker(RRF_CONSTANT), limit=DEPTH, output_fields=["doc_id"]
        )
        return [hit["doc_id"] for hit in hits]

    def dense(self, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant."""
        return self._dense(vector.tolist(), below)

    def restart(self) -> float:
        """See Contestant."""
        self.close()
        started = time.perf_counter()
        self._start()
        self._client.load_collection("scale")
        self._dense(self._any_vector, None)
        return time.perf_counter() - started

    def process_id(self) -> int:
        """See Contestant."""
        return self._process.pid

    def close(self) -> None:
        """See Contestant."""
        self._client.close()
        self._process.terminate()
        self._process.wait()

    def _dense(self, vector: list[float], below: int | None) -> list[str]:
        (hits,) = self._client.search(
            "scale",
            [vector],
            anns_field="dense",
            filter=_expression(below) or "",
            limit=DEPTH,
            search_params=_params(),
            output_fields=["doc_id"],
        )
        return [hit["doc_id"] for hit in hits]

    def _start(self) -> None:
        port = free_port()
        # Its own choice is every interface.
        command = [sys.executable, "-u", "-m", "milvus_lite", "server", "--host", "127.0.0.1"]
        command += ["--port", str(port), "--data-dir", str(self._folder / "data")]
        with (self._folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        if "listening" not in self._process.stdout.readline():
            sys.exit((self._folder / "log.txt").read_text())
        self._client = MilvusClient(uri=f"http://127.0.0.1:{port}")


def _rows(texts: Sequence[Text], vectors: Vectors) -> list[dict[str, Any]]:
    return [
        {
            "doc_id": text.doc_id,
            "share": text.share,
            "text": text.text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore"),
            "dense": vector,
        }
        for text, vector in zip(texts, vectors.tolist(), strict=True)
    ]


def _params() -> dict[str, Any]:
    return {"metric_type": "COSINE", "params": {"ef": EF}}


def _expression(below: int | None) -> str | None:
    return None if below is None else f"share < {below}"
