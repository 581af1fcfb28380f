"""kill -9 in the middle of writing: what was acknowledged is there, and both indexes agree with it.

The child writes from a seed and prints each acknowledgement; the parent kills it at a random point,
replays the acknowledged operations on a dictionary and compares. The one operation under way may
have happened or not, but only whole.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeBiEncoder
from killing import start
from recalling import SCHEMA, WAIT_SECONDS, a_document

from sidecar.config import Config, DenseIndexConfig
from sidecar.recall.embedded.collection import EmbeddedCollection

ROUNDS = 3


def operation(seed: int, number: int) -> tuple[str, list[int], str]:
    """The operation of that number: what, which documents, which text."""
    rng = np.random.default_rng([seed, number])
    what = "delete" if rng.random() < 0.3 else "upsert"
    return (
        what,
        sorted(rng.choice(40, size=rng.integers(1, 8), replace=False).tolist()),
        f"v{number}",
    )


def run(collection: EmbeddedCollection, seed: int, number: int) -> None:
    what, numbers, text = operation(seed, number)
    if what == "delete":
        collection.delete([f"d{n:04}" for n in numbers])
    else:
        collection.upsert([a_document(n, text, year=number) for n in numbers])


def replay(held: dict[str, str], seed: int, number: int) -> None:
    what, numbers, text = operation(seed, number)
    for n in numbers:
        if what == "delete":
            held.pop(f"d{n:04}", None)
        else:
            held[f"d{n:04}"] = text


def child(folder: str, seed: str, first: str) -> None:
    """Writes for ever, saying after each operation that it is acknowledged."""
    # So small that snapshots, merges and better indexes fall into the short life of the child.
    import sidecar.recall.embedded.dense_kinds as dense_kinds
    import sidecar.recall.embedded.derived as derived
    import sidecar.recall.embedded.generation as generation
    import sidecar.recall.embedded.upkeep as upkeep

    generation.SAVE_CHANGED_LEAST = 20
    derived.TEXT_CHUNK_DOCUMENTS = 15
    dense_kinds.DEAD_LEAST = 20
    upkeep.BUSY_SECONDS = upkeep.BUSY_REST = 0.0
    lists = DenseIndexConfig(exact_vectors=20, ivf_probes=1_000_000)
    config = Config(dense_index=lists)
    collection = EmbeddedCollection.open(Path(folder), FakeBiEncoder(), config)
    print("open", flush=True)
    number = int(first)
    while True:
        run(collection, int(seed), number)
        print(number, flush=True)
        number += 1


def kill_after(folder: Path, seed: int, first: int, operations: int, wait: float) -> int:
    """Runs the child, kills it some time after so many operations; returns the next number."""
    with start("test_crash.child", str(folder), str(seed), str(first)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        for _ in range(operations):
            assert process.stdout.readline().strip().isdigit()
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        acknowledged = [line for line in process.stdout.read().split("\n") if line.strip()]
        assert process.wait() == -signal.SIGKILL
    return first + operations + len(acknowledged)


def test_nothing_acknowledged_is_lost(tmp_path: Path):
    seed = int.from_bytes(os.urandom(4), "little")
    print(json.dumps({"seed": seed}))
    rng = np.random.default_rng(seed)
    folder = tmp_path / "things"
    EmbeddedCollection.create(folder, "things", SCHEMA, FakeBiEncoder(), Config()).close()
    held: dict[str, str] = {}
    number = 0
    for _ in range(ROUNDS):
        begun = number
        number = kill_after(
            folder, seed, begun, int(rng.integers(1, 30)), float(rng.random() * 0.2)
        )
        for done in range(begun, number):
            replay(held, seed, done)
        collection = EmbeddedCollection.open(folder, FakeBiEncoder(), Config())
        read = collection.fields([f"d{n:04}" for n in range(40)])
        found = {doc_id: fields["text"] for doc_id, fields in read.items()}
        if found != held:
            replay(held, seed, number)
            number += 1
        assert found == held
        assert collection.verify() == []
        assert collection.wait_searchable(collection.stats().durable_sequence, WAIT_SECONDS)
        leg = collection.lexical("common", None, 100)
        assert {recalled.doc_id for recalled in leg.recalled} == set(held)
        leg = collection.dense(FakeBiEncoder().encode_queries(["common"])[0], None, 100)
        assert {recalled.doc_id for recalled in leg.recalled} == set(held)
        collection.close()
    assert number > ROUNDS


def test_a_crash_between_the_two_renames_of_a_creation(tmp_path: Path, monkeypatch):
    def crash(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        EmbeddedCollection.create(tmp_path / "things", "things", SCHEMA, None, Config())
    monkeypatch.undo()
    assert not (tmp_path / "things").exists()
    EmbeddedCollection.create(tmp_path / "things", "things", SCHEMA, None, Config()).close()
