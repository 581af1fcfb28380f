"""What benchmarks/scale.py asks of each system that it compares, and the sidecar itself.

A system keeps documents with a text, a unit vector and the attribute `share`, and answers hybrid
searches: the best hundred by BM25 and by vectors, fused by reciprocal ranks as it does that.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import grpc
from scale_corpus import Text, Vectors
from servers import SERVE, serving

from sidecar.config import DenseIndexConfig
from sidecar.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    document_pb2,
    document_pb2_grpc,
    filter_pb2,
    ranking_pb2,
    search_pb2,
    search_pb2_grpc,
)

DEPTH = 100
UPLOAD_DOCUMENTS = 500
EXACT = DenseIndexConfig().exact_vectors
# Which runtime is fastest for the bi-encoder is not looked for: vectors come with the queries.
WITHOUT_RERANKERS = """
[runtime]
runtime = "onnxruntime"
precision = "fp32"
[first_reranker]
model = ""
[second_reranker]
model = ""
[recall]
lexical_depth = {depth}
dense_depth = {depth}
fused_depth = {depth}
[feedback]
enabled = false
"""


class Contestant(Protocol):
    """One system with an empty folder of its own, started. Searches come from many threads."""

    name: str
    version: str

    def load(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """Writes documents; they are found once this returns."""

    def write(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """Replaces documents, as safely as it does that."""

    def hybrid(self, query: str, vector: Vectors, below: int | None) -> list[str]:
        """Ids, best first; `below`: only of documents whose share is less."""

    def dense(self, vector: Vectors, below: int | None) -> list[str]:
        """The same by vectors alone, as hybrid searches look for them."""

    def restart(self) -> float:
        """Ends and starts it; seconds until it has answered a search."""

    def process_id(self) -> int:
        """The process that holds the indexes."""

    def close(self) -> None:
        """Ends it."""


class Sidecar:
    """A server process, over gRPC, with caller's vectors and without rerankers."""

    name = "sidecar"
    version = version("search-sidecar")

    def __init__(self, folder: Path, dimensions: int) -> None:
        self._folder = folder
        self._config = folder / "sidecar.toml"
        self._config.write_text(WITHOUT_RERANKERS.format(depth=DEPTH))
        self._running = contextlib.ExitStack()
        self._start()
        text_fields = [collection_pb2.TextField(name="text")]
        attributes = [
            collection_pb2.AttributeField(name="share", type=filter_pb2.ATTRIBUTE_TYPE_INTEGER)
        ]
        collection_pb2_grpc.CollectionServiceStub(self._channel).CreateCollection(
            collection_pb2.CreateCollectionRequest(
                name="scale",
                schema=collection_pb2.Schema(text_fields=text_fields, attributes=attributes),
            )
        )

    def load(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        for answer in self._documents.UpsertDocuments(_batches(texts, vectors)):
            last = answer
        while not self._is_settled(last.sequence):
            time.sleep(0.05)  # between two questions

    def write(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        for _ in self._documents.UpsertDocuments(_batches(texts, vectors)):
            pass

    def hybrid(self, query: str, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant."""
        request = search_pb2.SearchRequest(
            collection="scale", query=query, query_vector=vector, options=self._options
        )
        if below is not None:
            request.filter.range.attribute = "share"
            request.filter.range.less_than.integer_value = below
        reply = self._search.Search(request)
        return [hit.doc_id for hit in reply.ranking.hits]

    def dense(self, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant. No term of the query is in any document."""
        return self.hybrid("qqzzxxqq", vector, below)

    def restart(self) -> float:
        """See Contestant."""
        self._running.close()
        started = time.perf_counter()
        self._start()
        self.dense(self._any_vector, None)
        return time.perf_counter() - started

    def process_id(self) -> int:
        """See Contestant."""
        return self._process.pid

    def close(self) -> None:
        """See Contestant."""
        self._running.close()

    def _is_settled(self, sequence: int) -> bool:
        """All is searchable, and the index of vectors is the one that will serve."""
        stats = self._documents.GetStats(document_pb2.GetStatsRequest(collection="scale"))
        is_last = stats.document_count <= EXACT or stats.dense_form == "lists"
        is_searchable = stats.searchable_sequence >= sequence
        return is_searchable and is_last and not stats.dense_building

    def _start(self) -> None:
        self._running = contextlib.ExitStack()
        command = [*SERVE, "--data", str(self._folder / "data"), "--config", str(self._config)]
        command += ["--listen", "127.0.0.1:0"]
        address, self._process = self._running.enter_context(
            serving(command, self._folder / "log.txt")
        )
        options = [("grpc.max_receive_message_length", -1)]
        self._channel = self._running.enter_context(grpc.insecure_channel(address, options))
        self._documents = document_pb2_grpc.DocumentServiceStub(self._channel)
        self._search = search_pb2_grpc.SearchServiceStub(self._channel)
        self._options = ranking_pb2.RankingOptions(
            top_k=DEPTH, last_stage=ranking_pb2.STAGE_FUSED, unlogged=True
        )
        self._any_vector = [1.0] + [0.0] * 383


def _batches(
    texts: Sequence[Text], vectors: Vectors
) -> Iterator[document_pb2.UpsertDocumentsRequest]:
    pairs = zip(texts, vectors, strict=True)
    while some := list(itertools.islice(pairs, UPLOAD_DOCUMENTS)):
        documents = [
            document_pb2.Document(
                doc_id=text.doc_id,
                fields={"text": text.text},
                attributes={"share": filter_pb2.AttributeValue(integer_value=text.share)},
                vector=vector,
            )
            for text, vector in some
        ]
        yield document_pb2.UpsertDocumentsRequest(collection="scale", documents=documents)


def in_batches(
    texts: Sequence[Text], vectors: Vectors, size: int
) -> Iterator[tuple[Sequence[Text], Vectors]]:
    """Documents with their vectors, so many at a time."""
    for start in range(0, len(texts), size):
        yield texts[start : start + size], vectors[start : start + size]


# Module and class of each, and what brings it; a module is imported when it is asked for.
CONTESTANTS = {
    "sidecar": ("scale_contestants", "Sidecar", "pip install search-sidecar"),
    "lancedb": ("scale_lancedb", "LanceDB", "pip install lancedb==0.40.0"),
    "qdrant": ("scale_qdrant", "QdrantEdge", "pip install qdrant-edge-py==0.9.0"),
    "milvus": (
        "scale_milvus",
        "MilvusLite",
        "pip install milvus-lite==3.2.2 'pymilvus>=3.0.2,<3.1'",
    ),
    "txtai": ("scale_txtai", "Txtai", "pip install txtai==9.14.0"),
    "weaviate": (
        "scale_weaviate",
        "Weaviate",
        "install Go, pip install weaviate-client==4.23.1",
    ),
    "opensearch": ("scale_opensearch", "OpenSearch", "install Maven and Java 21"),
}


def find_contestants(names: Sequence[str]) -> dict[str, Callable[[Path, int], Contestant]]:
    """Makers of systems of those names. Ends the program if one is not installed."""
    found = {}
    for name in names:
        module, kind, needed = CONTESTANTS[name]
        try:
            found[name] = getattr(importlib.import_module(module), kind)
        except ImportError as error:
            sys.exit(f"{name}: {error}; {needed}, or leave it out with --only")
    return found
