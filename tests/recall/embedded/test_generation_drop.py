"""A generation is dropped: while it is made, broken off, and what is left of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeBiEncoder
from generations import fill, found, ready, settled
from recalling import CONFIG, WAIT_SECONDS, Encoder, a_collection, a_document, reopened, write

from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.encoding import identity_of
from sidecar.storage import statements, stored_generations
from sidecar.types import StageReason


def test_dropped_it_is_gone_and_its_bi_encoder_is_left_alone(tmp_path: Path, new: Encoder):
    first = a_collection(tmp_path)
    fill(first)
    first.add_generation(new)
    ready(first, new)
    collection = reopened(first, FakeBiEncoder())
    collection.add_generation(new)
    ready(collection, new)
    collection.lead_with(identity_of(new))
    assert {path.name for path in collection.folder.glob("dense-*")} == {"dense-1", "dense-2"}
    collection.drop_generation(identity_of(FakeBiEncoder()))
    collection.drop_generation(identity_of(FakeBiEncoder()))
    assert [path.name for path in collection.folder.glob("dense-*")] == ["dense-2"]
    assert list(collection._store.generations) == [identity_of(new)]
    leg = collection.dense(
        FakeBiEncoder().encode_queries(["x"])[0], None, 5, identity_of(FakeBiEncoder())
    )
    assert leg.reason is StageReason.INDEX_UNAVAILABLE
    write(collection, [a_document(1, "later")])
    assert collection.verify() == []
    assert len(found(collection, new, "later")) == 10
    collection.close()


def test_a_drop_that_is_broken_off_can_be_gone_back_on(
    tmp_path: Path, new: Encoder, monkeypatch: pytest.MonkeyPatch
):
    first = a_collection(tmp_path)
    fill(first)
    first.add_generation(new)
    ready(first, new)
    collection = reopened(first, FakeBiEncoder())
    monkeypatch.setattr(stored_generations, "EMPTY_CHUNK_DOCUMENTS", 50)
    drop, calls = statements.drop_vectors, []

    def crash_at_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return drop(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(statements, "drop_vectors", crash_at_second)
        with pytest.raises(KeyboardInterrupt):
            collection.drop_generation(identity_of(new))
    assert collection.verify() == []
    again = reopened(collection, FakeBiEncoder())
    assert again.generation_progress(identity_of(new)) == (70, 120)
    assert (*again.verify(), *again.repairs) == ()
    again.add_generation(new)
    ready(again, new)
    assert (*again.verify(), *again.repairs) == ()
    again.close()


def test_dropping_waits_for_a_chunk_under_way(collection: EmbeddedCollection, new: Encoder):
    fill(collection)
    started = threading.Event()
    encode = new.encode_passages

    def tell(texts: Sequence[str]) -> np.ndarray:
        started.set()
        return encode(texts)

    new.encode_passages = tell  # type: ignore[method-assign]
    new.gate.clear()
    collection.add_generation(new)
    assert started.wait(WAIT_SECONDS)
    dropping = threading.Thread(target=collection.drop_generation, args=(identity_of(new),))
    dropping.start()
    dropping.join(0.05)
    assert dropping.is_alive()
    new.gate.set()
    dropping.join(WAIT_SECONDS)
    assert not dropping.is_alive()
    calls = len(new.batches)
    write(collection, [a_document(n, "again") for n in range(5)])
    assert len(new.batches) == calls
    assert identity_of(new) not in collection._store.generations
    collection.add_generation(new)
    settled(collection, new)
    assert collection.verify() == []


def test_leftovers_of_a_dropped_one_are_removed(tmp_path: Path):
    collection = a_collection(tmp_path)
    fill(collection, 5)
    collection.close()
    (collection.folder / "dense-7").mkdir()
    (collection.folder / "dense-7" / "exact-1-0").write_text("x")
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    assert not (collection.folder / "dense-7").exists()
    assert again.verify() == []
    again.close()
