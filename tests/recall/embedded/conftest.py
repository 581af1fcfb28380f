"""What the tests of embedded collections share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dense_indexes import EXACT, MODEL, config, put, settle, units
from recalling import Encoder, a_collection

import sidecar.recall.embedded.dense_graph as dense_graph
import sidecar.recall.embedded.dense_lists as dense_lists
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.embedded.dense import DenseIndex


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[EmbeddedCollection]:
    """An empty one."""
    collection = a_collection(tmp_path)
    yield collection
    collection.close()


@pytest.fixture
def new() -> Iterator[Encoder]:
    """Another bi-encoder than the collection's. Nothing waits at its gate in the end."""
    encoder = Encoder()
    yield encoder
    encoder.gate.set()


@pytest.fixture
def filled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """An index and a dictionary after adds, replacements, deletions and a rebuild in between."""
    monkeypatch.setattr(dense_graph, "CHANGED_LEAST", 300)
    monkeypatch.setattr(dense_graph, "SCAN_ORDINALS", 40)
    monkeypatch.setattr(dense_graph, "SCAN_SHARE", 0.0)
    monkeypatch.setattr(dense_lists, "SCAN_ORDINALS", 40)
    rng = np.random.default_rng(5)
    index, held = DenseIndex.empty(MODEL, config(request.param)), {}
    put(index, held, list(range(3, 1203, 3)), units(rng, 400))
    settle(index)
    assert (index.form in EXACT) == (request.param in ("flat", "fp16"))
    put(index, held, [6, 9, 2000, 2001], units(rng, 4), forget=[12, 15, 9999])
    put(index, held, list(range(3000, 3100)), units(rng, 100), forget=[2000])
    settle(index)
    put(index, held, [3000], units(rng, 1), forget=[3001])
    return index, held, rng
