"""Any order of writes, better indexes, snapshots and crashes against a scan in numpy.

The lists read all of themselves here and the graph is small enough to be scanned, so that every
answer has to be exact; how much an approximate one finds is for test_dense_recall.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import sidecar.recall.embedded.dense_graph as dense_graph
import sidecar.recall.embedded.dense_kinds as dense_kinds
from sidecar.config import DenseIndexConfig
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.storage.stored_generations import BiEncoderIdentity, VectorChanges

DIMENSIONS = 12
MODEL = BiEncoderIdentity("m", "r1", DIMENSIONS)
SEEDS = st.integers(0, 2**31)
MOST_ORDINAL = 200
ALL_LISTS = 1_000_000
# float16 keeps 11 bits of each value of a unit vector.
TOLERANCE = 2e-3


def units(seed: int, count: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSIONS)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Vectors(RuleBasedStateMachine):
    """`held` is what should be found; `written` the truth that an opened index is caught up with:
    (number, ordinal, vector or None)."""

    @initialize(kind=st.sampled_from(["auto", "auto", "flat", "hnsw"]))
    def begin(self, kind: str) -> None:
        self.config = DenseIndexConfig(kind, exact_vectors=40, ivf_probes=ALL_LISTS)
        self.disk = tempfile.TemporaryDirectory()
        self.folder = Path(self.disk.name) / "dense"
        self.index = DenseIndex.empty(MODEL, self.config)
        self.held: dict[int, np.ndarray] = {}
        self.written: list[tuple[int, int, np.ndarray | None]] = []
        self.number = 0

    def apply(self, index: DenseIndex, upto: int) -> None:
        """What was written after an index's watermark, as the truth gives it: the last of each."""
        since = [each for each in self.written if index.watermark < each[0] <= upto]
        last = {ordinal: vector for _, ordinal, vector in since}
        ordinals = [ordinal for ordinal, vector in last.items() if vector is not None]
        vectors = [last[ordinal] for ordinal in ordinals]
        index.apply(
            VectorChanges(
                upto,
                np.array(ordinals, np.int64),
                np.array(vectors, np.float32).reshape(-1, DIMENSIONS),
                list(last),
            ),
            MODEL,
        )

    @rule(seed=SEEDS, count=st.integers(0, 90))
    def write(self, seed: int, count: int) -> None:
        """New ones and replaced ones."""
        ordinals = np.random.default_rng(seed).choice(MOST_ORDINAL, count, replace=False)
        for ordinal, vector in zip(ordinals.tolist(), units(seed, count), strict=True):
            self.number += 1
            self.written.append((self.number, ordinal, vector))
            self.held[ordinal] = vector
        self.apply(self.index, self.number)

    @rule(seed=SEEDS, share=st.sampled_from([0.02, 0.3, 0.9]), hides=st.booleans())
    def delete(self, seed: int, share: float, hides: bool) -> None:
        """Of those held, and one that is not."""
        chosen = np.random.default_rng(seed).random(len(self.held)) < share
        ordinals = [*np.array(sorted(self.held))[chosen].tolist(), MOST_ORDINAL + 7]
        for ordinal in ordinals:
            self.number += 1
            self.written.append((self.number, ordinal, None))
            self.held.pop(ordinal, None)
        if hides:
            self.index.hide(ordinals, self.number)
        else:
            self.apply(self.index, self.number)

    @rule()
    def build(self) -> None:
        self.index.settle()
        self.index.wait_built()
        assert self.index._building.failure == ""

    @rule(seed=SEEDS)
    def write_while_building(self, seed: int) -> None:
        self.index.settle()
        self.write(seed, 20)
        self.delete(seed, 0.1, hides=True)
        self.index.wait_built()

    @rule()
    def save(self) -> None:
        self.index.save(self.folder, "c1")

    @rule(builds=st.booleans())
    def crash(self, builds: bool) -> None:
        """Whatever is not in the last snapshot is lost, a better index in the making too."""
        if builds:
            self.index.settle()
        self.index.close()
        self.index = DenseIndex.open(self.folder, "c1", MODEL, self.config)
        self.apply(self.index, self.number)

    @invariant()
    def finds_what_a_scan_finds(self) -> None:
        held = sorted(self.held)
        assert self.index.ordinals().tolist() == held
        assert self.index.count == len(held)
        matrix = np.array([self.held[o] for o in held], np.float32).reshape(-1, DIMENSIONS)
        query = units(self.number, 1)[0]
        some = np.arange(0, MOST_ORDINAL + 20, 3)
        for allowed in (None, some, some[:7], some[:0]):
            passing = np.ones(len(held), bool) if allowed is None else np.isin(held, allowed)
            wanted = np.sort(matrix[passing] @ query)[::-1][:20]
            found = self.index.search(query, 20, allowed)
            assert [s for _, s in found] == pytest.approx(wanted.tolist(), abs=TOLERANCE)
            assert len({o for o, _ in found}) == len(found)
            assert {o for o, _ in found} <= set(np.array(held)[passing].tolist())
            for ordinal, score in found:
                assert score == pytest.approx(float(self.held[ordinal] @ query), abs=TOLERANCE)

    def teardown(self) -> None:
        self.index.close()
        self.disk.cleanup()


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Better indexes are due after few changes."""
    monkeypatch.setattr(dense_graph, "CHANGED_LEAST", 30)
    monkeypatch.setattr(dense_kinds, "DEAD_LEAST", 20)


class TestVectors(Vectors.TestCase):  # type: ignore[misc]  # hypothesis makes it at run time
    settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
