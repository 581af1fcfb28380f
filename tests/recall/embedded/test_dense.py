"""Every kind of dense index against a scan in numpy, and its snapshots."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest

import sidecar.recall.embedded.dense_gpu as dense_gpu
import sidecar.recall.embedded.dense_graph as dense_graph
import sidecar.recall.embedded.dense_lists as dense_lists
import sidecar.recall.embedded.dense_rows as dense_rows
from sidecar.config import DenseIndexConfig
from sidecar.errors import StorageError
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.recall.embedded.dense_choice import empty_index
from sidecar.storage.snapshots import write_snapshot
from sidecar.storage.stored_generations import BiEncoderIdentity, VectorChanges

DIMENSIONS = 24
MODEL = BiEncoderIdentity("m", "r1", DIMENSIONS)
KINDS = ["auto", "flat", "fp16", "ivf", "hnsw"]
EXACT = ("fp32", "fp16")
NOTHING = np.empty(0, np.int64)


def config(kind: str) -> DenseIndexConfig:
    lists, probes = (8, 4) if kind == "ivf" else (0, 0)
    return DenseIndexConfig(kind, exact_vectors=300, ivf_lists=lists, ivf_probes=probes)


def settle(index: DenseIndex) -> None:
    """What is due is done."""
    index.settle()
    index.wait_built()
    assert index._building.failure == ""


def units(rng: np.random.Generator, count: int) -> np.ndarray:
    vectors = rng.normal(size=(count, DIMENSIONS)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def put(index: DenseIndex, held: dict[int, np.ndarray], ordinals, vectors, forget=()) -> None:
    """The same change to the index and to a dictionary."""
    changes = VectorChanges(
        index.watermark + len(ordinals) + len(forget), np.array(ordinals, np.int64), vectors, forget
    )
    index.apply(changes, MODEL)
    for ordinal in forget:
        held.pop(ordinal, None)
    held.update(zip(ordinals, vectors, strict=True))


def brute(held: dict[int, np.ndarray], query: np.ndarray, depth: int, allowed=None):
    ordinals = [o for o in held if allowed is None or o in set(allowed.tolist())]
    scores = {o: float(held[o] @ query) for o in ordinals}
    return sorted(scores.items(), key=lambda entry: -entry[1])[:depth]


@pytest.fixture
def filled(request, monkeypatch):
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


@pytest.mark.parametrize("filled", KINDS, indirect=True)
def test_against_a_scan(filled):
    index, held, rng = filled
    assert index.count == len(held)
    assert index.ordinals().tolist() == sorted(held)
    recalls = []
    for query in units(rng, 30):
        wanted = brute(held, query, 10)
        found = index.search(query, 10, None)
        assert len(found) == 10
        scores = dict(found)
        assert all(abs(held[o] @ query - scores[o]) < 2e-3 for o in scores)
        assert [s for _, s in found] == sorted(scores.values(), reverse=True)
        recalls.append(len({o for o, _ in wanted} & set(scores)) / 10)
    least = {"flat": 0.99, "fp16": 0.99, "auto": 0.97, "ivf": 0.8, "hnsw": 0.95}
    assert np.mean(recalls) >= least[index._config.kind]


@pytest.mark.parametrize("filled", KINDS, indirect=True)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_filtered_against_a_scan(filled, share: float):
    index, held, rng = filled
    for query in units(rng, 10):
        allowed = np.array(sorted(o for o in [*held, 1, 7777] if rng.random() < share), np.int64)
        wanted = brute(held, query, 10, allowed)
        found = index.search(query, 10, allowed)
        assert {o for o, _ in found} <= set(allowed.tolist())
        # However few of the neighbours pass, the leg is as deep as it can be.
        assert len(found) >= min(10, len(wanted))
        if index.form in EXACT or len(allowed) <= 40:
            assert [s for _, s in found] == pytest.approx([s for _, s in wanted], abs=2e-3)


@pytest.mark.parametrize("filled", KINDS, indirect=True)
def test_more_asked_for_than_there_is(filled):
    index, held, rng = filled
    (query,) = units(rng, 1)
    assert {o for o, _ in index.search(query, 10_000, None)} == set(held)
    assert index.search(query, 10, NOTHING) == []
    assert index.search(query, 10, np.array([1, 7777])) == []
    assert [o for o, _ in index.search(query, 10, np.array([1, 6]))] == [6]


@pytest.mark.parametrize("kind", KINDS)
def test_empty(kind: str):
    index = DenseIndex.empty(MODEL, config(kind))
    query = units(np.random.default_rng(1), 1)[0]
    assert index.search(query, 5, None) == []
    assert index.search(query, 5, np.array([1])) == []
    put(index, {}, [], np.empty((0, DIMENSIONS), np.float32), forget=[1])
    assert index.count == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_ordinal_is_never_held_twice(kind: str):
    rng = np.random.default_rng(2)
    index = DenseIndex.empty(MODEL, config(kind))
    for _ in range(3):
        put(index, {}, [1, 2, 3], units(rng, 3))
    assert index.ordinals().tolist() == [1, 2, 3]
    assert index.count == 3


@pytest.mark.parametrize("kind", ["auto", "ivf", "hnsw"])
def test_there_is_a_scan_until_there_is_a_better_index(kind: str, monkeypatch):
    monkeypatch.setattr(dense_graph, "CHANGED_LEAST", 300)
    rng = np.random.default_rng(4)
    index, held = DenseIndex.empty(MODEL, config(kind)), {}
    put(index, held, list(range(100)), units(rng, 100))
    settle(index)
    (query,) = units(rng, 1)
    exact = [ordinal for ordinal, _ in brute(held, query, 100)]
    assert index.form == ("graph" if kind == "hnsw" else "fp16")
    assert [ordinal for ordinal, _ in index.search(query, 100, None)] == exact
    put(index, held, list(range(100, 400)), units(rng, 300))
    settle(index)
    assert index.form == ("graph" if kind == "hnsw" else "lists")
    if kind == "hnsw":
        assert index._vectors.recent.count == 0
    assert index.count == 400
    assert index.ordinals().tolist() == list(range(400))


def test_few_that_are_left_are_scanned_again():
    rng = np.random.default_rng(4)
    index, held = DenseIndex.empty(MODEL, config("auto")), {}
    put(index, held, list(range(400)), units(rng, 400))
    settle(index)
    put(index, held, [], units(rng, 0), forget=list(range(10, 400)))
    settle(index)
    assert index.form == "fp16"
    assert index._vectors.rows.dead_count == 0
    assert index.ordinals().tolist() == list(range(10))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_hidden_is_not_found_and_does_not_come_back(kind: str):
    rng = np.random.default_rng(4)
    index, held = DenseIndex.empty(MODEL, config(kind)), {}
    put(index, held, list(range(400)), units(rng, 400))
    settle(index)
    index.hide([3, 3, 4, 999_999], index.watermark + 1)
    index.hide([5], index.watermark)  # of a write that the index already has
    assert index.ordinals().tolist() == [0, 1, 2, *range(5, 400)]
    assert len(index.search(held[3], 400, None)) == 398
    put(index, held, [3], units(rng, 1), forget=[4])
    assert index.ordinals().tolist() == [0, 1, 2, 3, *range(5, 400)]


@pytest.mark.parametrize("kind", KINDS)
def test_changes_read_before_a_deletion_do_not_bring_it_back(kind: str):
    rng = np.random.default_rng(4)
    index, held = DenseIndex.empty(MODEL, config(kind)), {}
    put(index, held, list(range(400)), units(rng, 400))
    settle(index)
    read = VectorChanges(index.watermark + 3, np.array([7, 8, 500]), units(rng, 3), [])
    index.hide([8, 9, 500], read.upto + 2)
    index.hide([10], read.upto - 1)  # which these changes know of
    index.apply(read, MODEL)
    wanted = [*range(8), *range(11, 400)]
    assert index.ordinals().tolist() == wanted
    assert sorted(o for o, _ in index.search(held[8], 400, None)) == wanted
    # What is written later under the same ordinal is found.
    index.apply(VectorChanges(read.upto + 4, np.array([8, 10]), units(rng, 2), [9, 500]), MODEL)
    assert index.ordinals().tolist() == [*range(9), *range(10, 400)]
    assert len(index._deletions) == 0


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


@pytest.mark.parametrize("kind", KINDS)
def test_searches_run_beside_changes(kind: str, monkeypatch):
    monkeypatch.setattr(dense_graph, "CHANGED_LEAST", 100)
    monkeypatch.setattr("sidecar.recall.embedded.dense_kinds.DEAD_LEAST", 50)
    rng = np.random.default_rng(8)
    index = DenseIndex.empty(MODEL, config(kind))
    put(index, {}, list(range(400)), units(rng, 400))
    stop, failures = threading.Event(), []

    def search() -> None:
        queries = units(np.random.default_rng(9), 50)
        while not stop.is_set():
            for query in queries:
                found = index.search(query, 10, None)
                if len(found) != 10 or len({o for o, _ in found}) != 10:
                    failures.append(found)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for round_number in range(20):
        start = 10 * round_number
        put(index, {}, list(range(start, start + 20)), units(rng, 20), forget=[start + 300])
        index.settle()
    stop.set()
    for thread in threads:
        thread.join()
    index.close()
    assert failures == []
    assert index._building.failure == ""


@pytest.mark.parametrize("kind", ["flat", "fp16"])
def test_on_a_gpu_unfiltered_searches_use_the_copy(kind: str, monkeypatch):
    """With stand-ins for what only faiss-gpu has: this machine need not have a GPU."""
    copies = []

    def copy_index(resources, device, index):
        copies.append(faiss.clone_index(index))
        return copies[-1]

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", copy_index, raising=False)
    rng = np.random.default_rng(3)
    index, held = DenseIndex.empty(MODEL, config(kind)), {}
    put(index, held, list(range(3000)), units(rng, 3000))
    (query,) = units(rng, 1)
    before = index.search(query, 10, None)
    index.settle()
    assert len(copies) == 1
    assert index.search(query, 10, None) == before
    gone = np.array([before[0][0]])
    index._vectors.put(gone, NOTHING, np.empty((0, DIMENSIONS), np.float32))
    assert index.search(query, 10, None) == before
    assert before[0] not in index.search(query, 10, np.arange(3000))
    assert len(index.search(query, 2999, None)) == 2999
    put(index, held, [], np.empty((0, DIMENSIONS), np.float32), forget=[before[1][0]])
    assert not set(before[:2]) & set(index.search(query, 10, None))
    off = DenseIndexConfig(kind=kind, gpu="off")
    assert DenseIndex.empty(MODEL, off)._on_gpu is None


class WithGpu:
    """A GPU's index that is in main memory: it tells before each chunk that it is given."""

    def __init__(self, index, before_chunk) -> None:
        self._index, self._before_chunk = index, before_chunk

    def add(self, vectors: np.ndarray) -> None:
        self._before_chunk()
        self._index.add(vectors)

    def __getattr__(self, name: str):
        return getattr(self._index, name)


@pytest.mark.parametrize("change", ["hide", "replace", "hide at last"])
def test_a_copy_on_the_gpu_that_something_changed_under_is_not_used(change: str, monkeypatch):
    rng = np.random.default_rng(3)
    chunks = []

    def before_chunk() -> None:
        chunks.append(1)
        if len(chunks) == (4 if change == "hide at last" else 1):
            if change == "replace":
                index.begin_copy()
                index.replace(empty_index(DIMENSIONS, index._config))
            else:
                index.hide([390], index.watermark + 1)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(
        faiss,
        "index_cpu_to_gpu",
        lambda resources, device, on_cpu: WithGpu(faiss.clone_index(on_cpu), before_chunk),
        raising=False,
    )
    monkeypatch.setattr(dense_gpu, "_CHUNK", 100)
    index, held = DenseIndex.empty(MODEL, config("fp16")), {}
    put(index, held, list(range(400)), units(rng, 400))
    index.settle()
    wanted = 0 if change == "replace" else 399
    (query,) = units(rng, 1)
    assert len(index.search(query, 1000, None)) == wanted
    index.settle()  # of what there is now
    assert index._on_gpu.search(query.reshape(1, -1), 1000) is not None or wanted == 0
    assert sorted(o for o, _ in index.search(query, 1000, None)) == index.ordinals().tolist()


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
