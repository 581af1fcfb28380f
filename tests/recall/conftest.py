"""The kinds of collections that the contract suite is run against."""

from __future__ import annotations

import contextlib
import os

import pytest
from engines.milvus import MilvusLite
from engines.opensearch import Node
from kinds import Kind, embedded, remote

from sidecar.config import BackendConfig
from sidecar.errors import BackendUnavailableError
from sidecar.recall.milvus.connection import Connection

KINDS = ("embedded", "opensearch", "milvus")
OPENSEARCH_LACKS = frozenset({"conditions", "request ids", "backups", "generations"})
# milvus-lite counts in how many documents a word is among those only that the filter lets pass.
MILVUS_LITE_DIFFERS = frozenset({"scores under filters"})
MILVUS_LACKS = frozenset({"request ids", "field weights", "facets", "backups", "generations"})


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each of them."""
    if request.param == "embedded":
        return embedded()
    if request.param == "milvus":
        return _milvus(request.getfixturevalue("milvus_lite"))
    url: str = request.getfixturevalue("opensearch_url")
    if "SIDECAR_OPENSEARCH_URL" in os.environ:  # one that is not ours to end
        return remote("opensearch", url, lacks=OPENSEARCH_LACKS)
    node: Node = request.getfixturevalue("opensearch_node")

    def disturb() -> None:
        node.kill()
        node.start()
        node.wait()

    return remote("opensearch", url, lacks=OPENSEARCH_LACKS, disturb=disturb)


def _milvus(server: MilvusLite) -> Kind:
    connection = Connection("tests", BackendConfig(kind="milvus", url=server.url))

    def disturb() -> None:
        server.kill()
        server.start()
        while True:
            with contextlib.suppress(BackendUnavailableError):
                connection.call("has_collection", "any")
                return

    return remote(
        "milvus", server.url, lacks=MILVUS_LACKS, differs=MILVUS_LITE_DIFFERS, disturb=disturb
    )
