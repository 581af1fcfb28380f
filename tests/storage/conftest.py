"""What the tests of storage share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from storing import HEADER, MODEL

from sidecar.storage.documents import DocumentStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DocumentStore]:
    """An empty one."""
    store = DocumentStore.create(tmp_path, HEADER, MODEL)
    yield store
    store.close()
