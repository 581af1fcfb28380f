"""The kinds of collections that the contract suite is run against."""

from __future__ import annotations

import os

import pytest
from engines.opensearch import Node
from kinds import Kind, embedded, remote

KINDS = ("embedded", "opensearch")
OPENSEARCH_LACKS = frozenset({"conditions", "request ids", "backups", "generations"})


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each of them."""
    if request.param == "embedded":
        return embedded()
    url: str = request.getfixturevalue("opensearch_url")
    if "SIDECAR_OPENSEARCH_URL" in os.environ:  # one that is not ours to end
        return remote("opensearch", url, lacks=OPENSEARCH_LACKS)
    node: Node = request.getfixturevalue("opensearch_node")

    def disturb() -> None:
        node.kill()
        node.start()
        node.wait()

    return remote("opensearch", url, lacks=OPENSEARCH_LACKS, disturb=disturb)
