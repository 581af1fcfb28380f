"""On which threads FAISS computes: each case is a process of its own, whose threads are counted."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import faiss
import numpy as np
import pytest

from sidecar.config import DenseIndexConfig
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.recall.embedded.dense_lists import SCAN_ORDINALS, ListsIndex, lists_around
from sidecar.recall.embedded.dense_reach import Reach
from sidecar.storage.stored_generations import BiEncoderIdentity, VectorChanges

DIMENSIONS = 16
VECTORS = 500
THREADS = Path("/proc/self/task")
KINDS = {
    "flat": DenseIndexConfig("flat"),
    "fp16": DenseIndexConfig("fp16"),
    "lists": DenseIndexConfig("ivf", ivf_lists=4, ivf_probes=2),
    "hnsw": DenseIndexConfig("hnsw"),
}


def count_started(kind: str) -> None:
    """Prints how many threads there are more, once a thread has searched and changed an index."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(VECTORS, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    model = BiEncoderIdentity("m", "r1", DIMENSIONS)
    index = DenseIndex.empty(model, KINDS[kind])
    ordinals = np.arange(1, VECTORS + 1, dtype=np.int64)
    index.apply(VectorChanges(VECTORS, ordinals, vectors, []), model)
    index.settle()
    index.wait_built()

    def search() -> None:
        before = len(os.listdir(THREADS))
        again = VectorChanges(VECTORS + 1, ordinals[7:8], vectors[7:8], [])
        index.apply(again, model)
        for allowed in (None, ordinals[::3]):
            assert index.search(vectors[3], 10, allowed)[0][0] == 4
        print(len(os.listdir(THREADS)) - before)

    searching = threading.Thread(target=search)
    searching.start()
    searching.join()


def told(call: str) -> str:
    """What a process says in which it is called, with four threads for each kind of arithmetic."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "4")
    done = subprocess.run(
        [sys.executable, "-c", f"import test_dense_threads as it; it.{call}"],
        env={**os.environ, "PYTHONPATH": path, **threads, "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not THREADS.is_dir(), reason=f"threads are counted in {THREADS}")
@pytest.mark.parametrize("kind", KINDS)
def test_searches_and_changes_start_no_threads_to_wait_for(kind: str):
    assert told(f"count_started({kind!r})") == "0"


def measure_others() -> None:
    """Prints the nanoseconds that other threads computed while one searched lists with a filter."""
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(2 * SCAN_ORDINALS + 100, 512)).astype(np.float32)
    lists, reach = lists_around(vectors[:1000]), Reach(((1, 9),))
    lists.set_direct_map_type(faiss.DirectMap.Array)
    index = ListsIndex(lists, reach, len(vectors), lambda _: None)
    ordinals = np.arange(1, len(vectors) + 1, dtype=np.int64)
    index.put(ordinals[:0], ordinals, vectors)

    def spent_by_others() -> dict[int, int]:
        others = {int(name) for name in os.listdir(THREADS)} - {threading.get_native_id()}
        return {each: spent_by(each) for each in others}

    def spent_besides() -> int:
        before = spent_by_others()
        for number in range(100):
            index.search(vectors[number : number + 1], 10, ordinals[::2])
        after = spent_by_others()
        return sum(max(0, after[each] - before.get(each, 0)) for each in after)

    # Those that have just worked may still be looking for more.
    print(min(spent_besides() for _ in range(5)))


def spent_by(thread: int) -> int:
    """Nanoseconds that a thread computed; 0 if it has ended."""
    with contextlib.suppress(OSError):
        return int((THREADS / f"{thread}/schedstat").read_text().split()[0])
    return 0


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="times are kept in /proc/self/schedstat"
)
def test_a_filtered_search_of_lists_needs_no_other_thread():
    assert told("measure_others()") == "0"
