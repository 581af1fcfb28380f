"""Snapshots of every kind of dense index: whole, damaged, of elsewhere, of earlier versions."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import resource
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
from dense_indexes import DIMENSIONS, KINDS, MODEL, NOTHING, config, put, settle, units

import sidecar.recall.embedded.dense_graph as dense_graph
from sidecar.errors import StorageError
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.storage.snapshots import write_snapshot
from sidecar.storage.stored_generations import BiEncoderIdentity, VectorChanges


@pytest.mark.parametrize("filled", KINDS, indirect=True)
def test_a_snapshot_brings_everything_back(filled, tmp_path: Path):
    index, held, rng = filled
    index.save(tmp_path, "c1")
    again = DenseIndex.open(tmp_path, "c1", MODEL, index._config)
    assert (again.watermark, again.count) == (index.watermark, len(held))
    assert again.ordinals().tolist() == sorted(held)
    ordinals = again.ordinals()
    assert np.array_equal(again.vectors(ordinals), index.vectors(ordinals))
    for query in units(rng, 5):
        assert again.search(query, 10, None) == index.search(query, 10, None)
    put(again, held, [6, 5000], units(rng, 2), forget=[9])
    again.save(tmp_path, "c1")
    third = DenseIndex.open(tmp_path, "c1", MODEL, index._config)
    assert third.ordinals().tolist() == sorted(held)


def written_since(folder: Path, before: dict[str, int]) -> int:
    """Bytes in files that were not there before."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.name not in before)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_new_is_written_to_a_snapshot(kind: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(dense_graph, "CHANGED_LEAST", 900)
    rng = np.random.default_rng(12)
    index, held = DenseIndex.empty(MODEL, config(kind)), {}
    put(index, held, list(range(1000)), units(rng, 1000))
    settle(index)
    index.save(tmp_path, "c1")
    whole = written_since(tmp_path, {})
    names = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    for number in range(40):
        changed = [2 * number, 2000 + number]
        put(index, held, changed, units(rng, 2), forget=[500 + number])
        index.save(tmp_path, "c1")
        assert written_since(tmp_path, names) < 0.3 * whole
        assert len(list(tmp_path.iterdir())) < 14
        again = DenseIndex.open(tmp_path, "c1", MODEL, index._config)
        assert again.ordinals().tolist() == sorted(held)
    kept = {path.name for path in tmp_path.iterdir()} & set(names)
    assert sum((tmp_path / name).stat().st_size for name in kept) > 0.9 * whole
    again.save(tmp_path, "c1")  # one that was opened keeps them, too
    assert kept <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_snapshots_are_refused(tmp_path: Path, kind: str):
    index = DenseIndex.empty(MODEL, config(kind))
    put(index, {}, list(range(400)), units(np.random.default_rng(6), 400))
    settle(index)
    index.save(tmp_path, "c1")
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for damaged in (whole[:-1], whole[: len(whole) // 2] + b"?" + whole[len(whole) // 2 + 1 :]):
            if damaged != whole:
                path.write_bytes(damaged)
                with pytest.raises(StorageError):
                    DenseIndex.open(tmp_path, "c1", MODEL, config(kind))
        path.write_bytes(whole)
    assert DenseIndex.open(tmp_path, "c1", MODEL, config(kind)).count == 400


@contextlib.contextmanager
def files_end_at(limit_bytes: int) -> Iterator[None]:
    """The kernel refuses what is written beyond it, as a full disk does, also to what is not
    written by Python. (An error of another number, EFBIG.)"""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("filled", KINDS, indirect=True)
@pytest.mark.parametrize("limit_bytes", [10, 100, 500])
def test_a_snapshot_that_does_not_fit_leaves_the_older_one(filled, limit_bytes, tmp_path: Path):
    index, _, rng = filled
    index.save(tmp_path, "c1")
    before, watermark = sorted(tmp_path.iterdir()), index.watermark
    put(index, {}, [6], units(rng, 1))
    with files_end_at(limit_bytes), pytest.raises(StorageError, match="File too large"):
        index.save(tmp_path, "c1")
    assert sorted(tmp_path.iterdir()) == before
    assert index.saved_watermark == watermark
    again = DenseIndex.open(tmp_path, "c1", MODEL, index._config)
    assert again.watermark == watermark


@pytest.mark.parametrize("filled", KINDS, indirect=True)
def test_every_part_tells_of_a_full_disk(filled):
    index, _, _ = filled
    for write in index._vectors.parts(contextlib.nullcontext).files.values():
        with pytest.raises(OSError, match="No space left"), open("/dev/full", "wb") as file:
            write(file)


def test_what_belongs_elsewhere_is_refused(tmp_path: Path):
    index = DenseIndex.empty(MODEL, config("fp16"))
    put(index, {}, [1], units(np.random.default_rng(6), 1))
    index.save(tmp_path, "c1")
    other = BiEncoderIdentity("m", "r2", DIMENSIONS)
    for collection_id, model, kind in (
        ("c2", MODEL, "fp16"),
        ("c1", other, "fp16"),
        ("c1", MODEL, "flat"),
    ):
        with pytest.raises(StorageError, match="the snapshot is of"):
            DenseIndex.open(tmp_path, collection_id, model, config(kind))
    with pytest.raises(ValueError, match="do not belong"):
        index.apply(VectorChanges(2, NOTHING, np.empty((0, DIMENSIONS), np.float32), []), other)


@pytest.mark.parametrize(
    ("kind", "opened_as"), [("flat", "flat"), ("fp16", "fp16"), ("fp16", "auto")]
)
def test_an_exact_snapshot_of_an_earlier_version_opens(kind: str, opened_as: str, tmp_path: Path):
    """FAISS's own file of the vectors with their ordinals, as it was written then."""
    vectors = units(np.random.default_rng(3), 500)
    ordinals = np.arange(1, 1001, 2)
    flat, half = faiss.IndexFlatIP(DIMENSIONS), faiss.ScalarQuantizer.QT_fp16
    exact = faiss.IndexIDMap2(
        flat
        if kind == "flat"
        else faiss.IndexScalarQuantizer(DIMENSIONS, half, faiss.METRIC_INNER_PRODUCT)
    )
    exact.add_with_ids(vectors, ordinals)
    about = {"collection_id": "c1", "kind": kind, **dataclasses.asdict(MODEL)}
    about |= {"watermark": 600, "count": 500}
    content = faiss.serialize_index(exact).tobytes()
    write_snapshot(tmp_path, 600, {"exact": lambda file: file.write(content)}, about)
    index = DenseIndex.open(tmp_path, "c1", MODEL, config(opened_as))
    assert (index.watermark, index.ordinals().tolist()) == (600, ordinals.tolist())
    assert index.search(vectors[7], 1, None)[0][0] == 15
    put(index, {}, [15], -vectors[7:8])
    index.save(tmp_path, "c1")
    again = DenseIndex.open(tmp_path, "c1", MODEL, index._config)
    assert again.ordinals().tolist() == ordinals.tolist()
    assert again.search(vectors[7], 1, None)[0][0] != 15


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_another_snapshot_of_an_earlier_version_is_built_anew(kind: str, tmp_path: Path, caplog):
    about = {"collection_id": "c1", "kind": kind, **dataclasses.asdict(MODEL)}
    about |= {"watermark": 600, "count": 500}
    write_snapshot(tmp_path, 600, {kind: lambda file: file.write(b"?")}, about)
    with caplog.at_level(logging.INFO):
        index = DenseIndex.open(tmp_path, "c1", MODEL, config(kind))
    assert (index.watermark, index.count) == (0, 0)
    assert f"its index of kind '{kind}' is of an earlier version" in caplog.text
