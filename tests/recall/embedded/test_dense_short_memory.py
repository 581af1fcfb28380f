"""Memory is short while vectors are added: none becomes that of another document."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from dense_indexes import KINDS, MODEL, config, put, settle, units

import sidecar.recall.embedded.dense_rows as dense_rows
from sidecar.recall.embedded.dense import DenseIndex


class BreaksOff:
    """In the place of a FAISS index: memory is short when it is added to, before or after it has
    taken the vectors."""

    def __init__(self, within, takes: bool) -> None:
        self._within, self._takes = within, takes

    def _add(self, add, *arguments: object) -> None:
        if self._takes:
            add(*arguments)
        raise MemoryError("made to fail")

    def add(self, *arguments: object) -> None:
        self._add(self._within.add, *arguments)

    def add_core(self, *arguments: object) -> None:
        self._add(self._within.add_core, *arguments)

    def __getattr__(self, name: str):
        return getattr(self._within, name)


def break_off(index: DenseIndex, takes: bool, monkeypatch) -> None:
    vectors = index._vectors
    owner = vectors.recent if index.form == "graph" else vectors
    name = "_lists" if index.form == "lists" else "storage"
    monkeypatch.setattr(owner, name, BreaksOff(getattr(owner, name), takes))


def assert_each_is_found_as_itself(index: DenseIndex, held: dict[int, np.ndarray]) -> None:
    assert index.ordinals().tolist() == sorted(held)
    for ordinal, vector in held.items():
        assert index.search(vector, 1, None)[0][0] == ordinal


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("takes", [False, True])
def test_after_an_addition_that_broke_off_no_vector_is_of_another_document(
    kind: str, takes: bool, monkeypatch
):
    rng = np.random.default_rng(21)
    wanted = dataclasses.replace(config(kind), ivf_probes=8 if kind == "ivf" else 0)
    index, held = DenseIndex.empty(MODEL, wanted), {}
    put(index, held, list(range(400)), units(rng, 400))
    settle(index)
    watermark = index.watermark
    added = units(rng, 100)
    with monkeypatch.context() as broken:
        break_off(index, takes, broken)
        with pytest.raises(MemoryError):
            put(index, {}, list(range(350, 450)), added)
    assert index.watermark == (0 if takes else watermark)
    assert index.is_rebuilt or not takes
    if takes:  # all is read again then
        assert index.count == 0
        put(index, {}, list(held), np.array(list(held.values())))
    put(index, held, list(range(350, 450)), added)
    put(index, held, list(range(500, 600)), units(rng, 100), forget=[3])
    assert_each_is_found_as_itself(index, held)


@pytest.mark.parametrize("kind", KINDS)
def test_room_for_the_rows_is_there_before_the_vectors(kind: str, monkeypatch):
    """As it is when there is no memory for a larger table of rows."""
    rng = np.random.default_rng(22)
    index, held = DenseIndex.empty(MODEL, config(kind)), {}
    put(index, held, list(range(400)), units(rng, 400))
    settle(index)
    added = units(rng, 100)
    watermark = index.watermark

    def fail(*arguments: object) -> None:
        raise MemoryError("made to fail")

    with monkeypatch.context() as broken:
        broken.setattr(dense_rows, "_grown", fail)
        with pytest.raises(MemoryError):
            put(index, {}, list(range(5000, 5100)), added, forget=[1])
    assert (index.watermark, index.ordinals().tolist()) == (watermark, sorted(held))
    put(index, held, list(range(5000, 5100)), added, forget=[1])
    assert index.ordinals().tolist() == sorted(held)


def test_a_better_index_of_what_was_begun_anew_is_given_up(monkeypatch):
    rng = np.random.default_rng(23)
    index = DenseIndex.empty(MODEL, config("fp16"))
    put(index, {}, list(range(10)), units(rng, 10))
    index.begin_copy()
    better = index._vectors
    with monkeypatch.context() as broken:
        break_off(index, True, broken)
        with pytest.raises(MemoryError):
            put(index, {}, [11], units(rng, 1))
    with pytest.raises(RuntimeError, match="begun anew meanwhile"):
        index.replace(better)
    assert (index.count, index.watermark) == (0, 0)
