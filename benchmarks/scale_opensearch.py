"""OpenSearch's hybrid query as a peer of scale.py: the real distribution, one node over HTTP.

One shard without replicas; text by its english analyzer and BM25; vectors in Lucene's HNSW at its
defaults (m 16, ef_construction 100, ef 100 for 100 hits; the faiss engine needs native libraries
that Maven Central has not); the hybrid query with RRF by 60, its filter pushed into both legs. It
is loaded without refreshing and merged to one segment, which its tuning guide advises. A write is a
bulk request, durable by its log once answered, and found within the second of its refresh. The heap
is as distributed, 1 GB: what of it was touched while empty is not in the figure of its memory.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scale_contestants import DEPTH, in_batches
from scale_corpus import Text, Vectors
from scale_opensearch_install import NOBODY, VERSION, find_java, install
from servers import free_port

BATCH_DOCUMENTS = 500
START_SECONDS = 300.0
MERGE_SECONDS = 3600.0
RANKER = {"combination": {"technique": "rrf", "rank_constant": 60}}
SETTINGS = """\
network.host: 127.0.0.1
http.port: {port}
transport.port: {transport_port}
discovery.type: single-node
path.data: {folder}/data
path.logs: {folder}/logs
cluster.routing.allocation.disk.threshold_enabled: false
"""


class OpenSearch:
    """A server process, over HTTP."""

    name = "opensearch"
    version = VERSION
    # At the import already, so that what is missing is said before anything is measured.
    _home, _java = install(), find_java()

    def __init__(self, folder: Path, dimensions: int) -> None:
        self._folder = folder
        self._port = free_port()
        self._connections = threading.local()
        self._any_vector = [1.0] + [0.0] * (dimensions - 1)
        self._prepare()
        self._start()
        ranker = {"phase_results_processors": [{"score-ranker-processor": RANKER}]}
        self._call("PUT", "/_search/pipeline/rrf", ranker)
        self._call("PUT", "/scale", _index(dimensions))

    def load(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        self._call("PUT", "/scale/_settings", {"index": {"refresh_interval": "-1"}})
        for some, theirs in in_batches(texts, vectors, BATCH_DOCUMENTS):
            self.write(some, theirs)
        self._call("POST", "/scale/_refresh")
        self._call("POST", "/scale/_forcemerge?max_num_segments=1", seconds=MERGE_SECONDS)
        self._call("PUT", "/scale/_settings", {"index": {"refresh_interval": "1s"}})

    def write(self, texts: Sequence[Text], vectors: Vectors) -> None:
        """See Contestant."""
        lines = []
        for text, vector in zip(texts, vectors.tolist(), strict=True):
            lines.append(json.dumps({"index": {"_id": text.doc_id}}))
            fields = {"text": text.text, "share": text.share, "vector": vector}
            lines.append(json.dumps(fields))
        answer = self._call("POST", "/scale/_bulk", "\n".join(lines) + "\n")
        assert not answer["errors"], str(answer)[:2000]

    def hybrid(self, query: str, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant."""
        legs = {"queries": [{"match": {"text": query}}, _nearest(vector.tolist(), None)]}
        filters = {} if below is None else {"filter": _filter(below)}
        hybrid = {"hybrid": {**legs, **filters, "pagination_depth": DEPTH}}
        return self._search(hybrid, "&search_pipeline=rrf")

    def dense(self, vector: Vectors, below: int | None) -> list[str]:
        """See Contestant."""
        return self._search(_nearest(vector.tolist(), below), "")

    def restart(self) -> float:
        """See Contestant."""
        self.close()
        started = time.perf_counter()
        self._start()
        self._search(_nearest(self._any_vector, None), "")
        return time.perf_counter() - started

    def process_id(self) -> int:
        """See Contestant."""
        return self._process.pid

    def close(self) -> None:
        """See Contestant."""
        self._process.terminate()
        self._process.wait()

    def _search(self, query: dict[str, Any], options: str) -> list[str]:
        body = {"size": DEPTH, "_source": False, "query": query}
        found = self._call("POST", f"/scale/_search?request_cache=false{options}", body)
        assert not found["timed_out"], str(found)[:2000]
        assert not found["_shards"]["failed"], str(found)[:2000]
        return [hit["_id"] for hit in found["hits"]["hits"]]

    def _prepare(self) -> None:
        for name in ("data", "logs", "tmp"):
            (self._folder / name).mkdir()
        config = self._folder / "config"
        shutil.copytree(self._home / "config", config)
        settings = SETTINGS.format(port=self._port, transport_port=free_port(), folder=self._folder)
        (config / "opensearch.yml").write_text(settings)
        # Its logs would go into the folder of the distribution; a cut down Java lacks a module.
        kept = (config / "jvm.options").read_text().splitlines()
        left_out = ["logs/"]
        if "jdk.incubator.vector" not in (self._java / "release").read_text():
            left_out.append("jdk.incubator.vector")
        kept = [line for line in kept if not any(each in line for each in left_out)]
        (config / "jvm.options").write_text("\n".join(kept) + "\n")
        if os.geteuid() == 0:
            _give_away(self._folder)

    def _start(self) -> None:
        command = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        if os.geteuid() == 0:  # It does not run as root.
            command += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        command.append(str(self._home / "bin" / "opensearch"))
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "OPENSEARCH_JAVA_HOME": str(self._java),
            "OPENSEARCH_PATH_CONF": str(self._folder / "config"),
            "OPENSEARCH_TMPDIR": str(self._folder / "tmp"),
        }
        with (self._folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, cwd=self._folder
            )
        self._connections = threading.local()
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        path = "/_cluster/health?wait_for_status=yellow&wait_for_no_initializing_shards=true"
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if not self._call("GET", f"{path}&timeout=5s")["timed_out"]:
                    return
            if self._process.poll() is not None or time.monotonic() > end:
                sys.exit((self._folder / "log.txt").read_text()[-5000:])
            time.sleep(0.1)  # between two looks at a port that may not be open yet

    def _call(self, method: str, path: str, body: Any = None, seconds: float = 120.0) -> Any:
        connection = getattr(self._connections, "kept", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port)
            self._connections.kept = connection
        connection.timeout = seconds
        encoded = body if isinstance(body, str) else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else encoded.encode(), headers)
            answer = connection.getresponse()
            read = answer.read()
        except (OSError, http.client.HTTPException):
            del self._connections.kept
            raise
        if answer.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            raise http.client.HTTPException(read.decode())
        assert answer.status < http.HTTPStatus.BAD_REQUEST, read.decode()[:2000]
        return json.loads(read)


def _index(dimensions: int) -> dict[str, Any]:
    method = {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"}
    properties = {
        "text": {"type": "text", "analyzer": "english"},
        "share": {"type": "integer"},
        "vector": {"type": "knn_vector", "dimension": dimensions, "method": method},
    }
    settings = {"knn": True, "number_of_shards": 1, "number_of_replicas": 0}
    return {"settings": {"index": settings}, "mappings": {"properties": properties}}


def _nearest(vector: list[float], below: int | None) -> dict[str, Any]:
    knn: dict[str, Any] = {"vector": vector, "k": DEPTH}
    if below is not None:
        knn["filter"] = _filter(below)
    return {"knn": {"vector": knn}}


def _filter(below: int) -> dict[str, Any]:
    return {"range": {"share": {"lt": below}}}


def _give_away(folder: Path) -> None:
    """To the user that it runs as, who must be let into the temporary folder above, too."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    for parent in folder.parents:
        if parent == Path(tempfile.gettempdir()):
            break
        parent.chmod(parent.stat().st_mode | 0o011)
