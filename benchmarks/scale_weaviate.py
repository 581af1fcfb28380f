"""Weaviate's hybrid search as a peer of scale.py: the real server, one node, over gRPC.

Vectors: HNSW by cosine at its defaults (maxConnections 32, efConstruction 128, ef 500 for 100 hits
by its dynamic rule, float32); BM25 at its defaults over words without stemming; `share` with an
index for ranges; ranked fusion at a weight of half. A write is a batch of objects, of which it
answers once they are in its logs (not flushed to the disk at each write) and found. The server is
built by `go install` at the first use and kept in the folder SIDECAR_ENGINES.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import weaviate
from scale_contestants import DEPTH, in_batches
from scale_corpus import Text, Vectors
from scale_opensearch_install import kept_folder
from servers import free_port
from weaviate.classes.config import Configure, DataType, Property, VectorDistances
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter, HybridFusion
from weaviate.collections.classes.filters import _Filters

VERSION = "1.35.2"
MODULE = f"github.com/weaviate/weaviate/cmd/weaviate-server@v{VERSION}"
BATCH_DOCUMENTS = 500
START_SECONDS = 120.0


class Weaviate:
    """A server process, over gRPC."""

    name = "weaviate"
    version = VERSION

    def __init__(self, folder: Path, dimensions: int) -> None:
        self._server = install()
        self._folder = folder
        self._any_vector = [1.0] + [0.0] * (dimensions - 1)
        self._ports = {name: free_port() for name in _PORTS}
        self._start()
        self._client.collections.create(
            "Scale",
            properties=[
                Property(name="text", data_type=DataType.TEXT),
                Property(name="share", data_type=DataType.INT, index_range_filters=True),
            ],
            vector_config=Configure.Vectors.self_provided(
                vector_index_config=Configure.VectorIndex.hnsw(
                    distance_metric=VectorDistances.COSINE
                ),
                quantizer=Configure.VectorIndex.Quantizer.none(),
            ),
        )

    def load(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        for some, theirs in in_batches(texts, vectors, BATCH_DOCUMENTS):
            self.write(some, theirs)

    def write(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        objects = [
            DataObject({"text": text.text, "share": text.share}, _uuid(text.doc_id), vector)
            for text, vector in zip(texts, vectors.tolist(), strict=True)
        ]
        answer = self._scale.data.insert_many(objects)
        assert not answer.has_errors, str(answer.errors)[:2000]

    def hybrid(self, query: str, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant."""
        found = self._scale.query.hybrid(
            query,
            vector=vector.tolist(),
            alpha=0.5,
            fusion_type=HybridFusion.RANKED,
            limit=DEPTH,
            filters=_filter(below),
            return_properties=[],
        )
        return [_doc_id(each.uuid) for each in found.objects]

    def dense(self, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant."""
        return self._dense(vector.tolist(), below)

    def restart(self) -> float:
        """See Contestant."""
        self.close()
        started = time.perf_counter()
        self._start()
        self._wait_for_schema()
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
        found = self._scale.query.near_vector(
            vector, limit=DEPTH, filters=_filter(below), return_properties=[]
        )
        return [_doc_id(each.uuid) for each in found.objects]

    def _start(self) -> None:
        port = str(self._ports["PORT"])
        command = [str(self._server), "--host", "127.0.0.1", "--port", port, "--scheme", "http"]
        with (self._folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | self._environment(), stdout=log, stderr=log
            )
        self._connect()

    def _environment(self) -> dict[str, str]:
        return {
            "PERSISTENCE_DATA_PATH": str(self._folder / "data"),
            "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true",
            "DISABLE_TELEMETRY": "true",
            "DEFAULT_VECTORIZER_MODULE": "none",
            "CLUSTER_HOSTNAME": "node1",
            "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
            "RAFT_JOIN": "node1",
            "RAFT_BOOTSTRAP_EXPECT": "1",
            "LOG_LEVEL": "error",
        } | {name: str(port) for name, port in self._ports.items() if name != "PORT"}

    def _connect(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self._client = weaviate.connect_to_local(
                    "127.0.0.1", self._ports["PORT"], self._ports["GRPC_PORT"]
                )
                break
            except weaviate.exceptions.WeaviateBaseError:
                if self._process.poll() is not None or time.monotonic() > end:
                    sys.exit((self._folder / "log.txt").read_text()[-5000:])
                time.sleep(0.1)  # between two looks at a port that may not be open yet
        self._scale = self._client.collections.use("Scale")

    def _wait_for_schema(self) -> None:
        """Its collections are read from a log, some while after it says that it is ready."""
        end = time.monotonic() + START_SECONDS
        while not self._client.collections.exists("Scale"):
            if time.monotonic() > end:
                sys.exit("weaviate has not found its collection again")
            time.sleep(0.01)  # between two questions


_PORTS = (
    "PORT",
    "GRPC_PORT",
    "CLUSTER_GOSSIP_BIND_PORT",
    "CLUSTER_DATA_BIND_PORT",
    "RAFT_PORT",
    "RAFT_INTERNAL_RPC_PORT",
    "GO_PROFILING_PORT",
)


def install() -> Path:
    """The server's program, built at the first call. Raises ImportError."""
    program = kept_folder() / f"weaviate-{VERSION}" / "weaviate-server"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise ImportError("weaviate is built with Go, which is not here")
    program.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"GOBIN": str(program.parent)}
    built = subprocess.run(["go", "install", MODULE], env=environment, check=False)
    if built.returncode:
        raise ImportError(f"go install {MODULE} failed")
    return program


def _uuid(doc_id: str) -> UUID:
    return UUID(int=int(doc_id[1:]))


def _doc_id(uuid: object) -> str:
    return f"d{UUID(str(uuid)).int:07}"


def _filter(below: int | None) -> _Filters | None:
    return None if below is None else Filter.by_property("share").less_than(below)
