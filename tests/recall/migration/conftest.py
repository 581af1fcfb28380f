"""What the tests of migrations share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from elsewhere import Place, place
from migrating import World
from recalling import a_document

from sidecar.recall.migration import pace

__all__ = ["place"]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A move of few documents takes several steps."""
    monkeypatch.setattr(pace, "IDLE_DOCUMENTS", 7)
    monkeypatch.setattr(pace, "BUSY_DOCUMENTS", 7)


@pytest.fixture
def world(tmp_path: Path, place: Place, small_chunks: None) -> Iterator[World]:
    """Forty documents were written, two of them deleted again."""
    world = World(tmp_path / "data", place)
    world.upsert(*(a_document(n, f"word{n} of{n % 7}", year=n % 3) for n in range(40)))
    world.delete("d0003", "d0004")
    yield world
    world.catalog.close()
