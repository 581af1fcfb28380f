"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from engines import opensearch
from engines.java import MissingError
from engines.milvus import MilvusLite
from hypothesis import settings
from kinds import give_up

# Shared machines are slow at times: how long an example takes says nothing about it.
settings.register_profile("sidecar", deadline=None, print_blob=True)
settings.load_profile("sidecar")


@pytest.fixture(scope="session")
def opensearch_node() -> Iterator[opensearch.Node]:
    """A running OpenSearch, started for the first test that wants it."""
    try:
        opensearch.install()
    except MissingError as error:
        give_up(f"OpenSearch cannot be started: {error}")
    with opensearch.running() as (node,):
        yield node


@pytest.fixture(scope="session")
def opensearch_url(request: pytest.FixtureRequest) -> str:
    """The address of a running OpenSearch: SIDECAR_OPENSEARCH_URL, or of `opensearch_node`."""
    given = os.environ.get("SIDECAR_OPENSEARCH_URL")
    return given or str(request.getfixturevalue("opensearch_node").url)


@pytest.fixture(scope="session")
def milvus_lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusLite]:
    """A running milvus-lite, likewise. Who ends it starts it again."""
    server = MilvusLite(tmp_path_factory.mktemp("milvus-lite"))
    server.start()
    yield server
    server.stop()
