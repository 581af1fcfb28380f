"""Servers that keep collections, each started once for all tests that want it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from engines import opensearch
from engines.java import MissingError
from kinds import Kind, embedded, give_up, remote


@pytest.fixture(scope="session")
def opensearch_node() -> Iterator[opensearch.Node]:
    """A running OpenSearch."""
    try:
        opensearch.install()
    except MissingError as error:
        give_up(f"OpenSearch cannot be started: {error}")
    with opensearch.running() as node:
        yield node


KINDS = ("embedded", "opensearch")


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of collection."""
    if request.param == "embedded":
        return embedded()
    lacks = frozenset({"conditions", "request ids", "backups", "generations"})
    if url := os.environ.get("SIDECAR_OPENSEARCH_URL"):  # one that runs, and is not ended
        return remote("opensearch", url, lacks=lacks)
    node: opensearch.Node = request.getfixturevalue("opensearch_node")

    def disturb() -> None:
        node.kill()
        node.start()
        node.wait()

    return remote("opensearch", node.url, lacks=lacks, disturb=disturb)
