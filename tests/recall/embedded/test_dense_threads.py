"""On which threads FAISS computes: each case is a process of its own, whose threads are counted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from sidecar.config import DenseIndexConfig
from sidecar.recall.embedded.dense import DenseIndex
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


@pytest.mark.skipif(not THREADS.is_dir(), reason=f"threads are counted in {THREADS}")
@pytest.mark.parametrize("kind", KINDS)
def test_searches_and_changes_start_no_threads_to_wait_for(kind: str):
    call = f"import test_dense_threads as it; it.count_started({kind!r})"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", call],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "4"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.returncode) == ("0", 0), done.stderr
