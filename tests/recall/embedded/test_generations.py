"""Several generations of vectors in one collection: built, and kept up with writes.

What a generation finds is compared with a scan in numpy over what its bi-encoder makes of the
documents as they are, and with a fresh collection indexed by that bi-encoder alone.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes import FakeBiEncoder
from generations import fill, found, ready, settled, texts
from recalling import (
    SCHEMA,
    WAIT_SECONDS,
    Encoder,
    a_collection,
    a_document,
    assert_same,
    scanned,
    write,
)

from sidecar.config import Config, DenseIndexConfig
from sidecar.recall.embedded import background_encoding as background
from sidecar.recall.embedded import generation
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.encoding import identity_of
from sidecar.storage import stored_generations
from sidecar.types import Equals, StageReason


@pytest.mark.parametrize("kind", ["auto", "fp16", "flat", "hnsw"])
def test_what_it_finds_is_what_a_fresh_collection_finds(tmp_path: Path, kind: str, new: Encoder):
    old = a_collection(tmp_path, kind=kind)
    written = fill(old)
    old.add_generation(new)
    ready(old, new)
    config = Config(dense_index=DenseIndexConfig(kind=kind))
    fresh = EmbeddedCollection.create(tmp_path / "fresh", "fresh", SCHEMA, new, config)
    write(fresh, [a_document(n, text, year=n % 3) for n, text in enumerate(written)])
    for query in texts(20, seed=1):
        assert found(old, new, query) == found(fresh, new, query)
        same = found(fresh, new, query, filter=Equals("year", 1))
        assert found(old, new, query, filter=Equals("year", 1)) == same
        held = {f"d{n:04}": text for n, text in enumerate(written)}
        assert_same(found(old, new, query), scanned(held, new, query))
        assert_same(found(old, FakeBiEncoder(), query), scanned(held, FakeBiEncoder(), query))
    assert old.verify() == fresh.verify() == []
    old.close()
    fresh.close()


def test_until_it_is_complete_only_the_leading_one_serves(
    collection: EmbeddedCollection, new: Encoder
):
    fill(collection)
    new.gate.clear()
    collection.add_generation(new)
    leg = collection.dense(new.encode_queries(["w1"])[0], None, 5, identity_of(new))
    assert (leg.reason, leg.recalled) == (StageReason.INDEX_UNAVAILABLE, ())
    assert "120 documents have no vector of fake-words at revision fake-2 yet" in leg.detail
    assert collection.generation_progress(identity_of(new)) == (0, 120)
    assert not collection.wait_generation(identity_of(new), 0.01)
    assert len(found(collection, FakeBiEncoder(), "w1")) == 10
    written = collection.upsert([a_document(500, "w1 w1 w1")])
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    assert found(collection, FakeBiEncoder(), "common w1 w1 w1", 1)[0][0] == "d0500"
    new.gate.set()
    ready(collection, new)
    assert collection.generation_progress(identity_of(new)) == (121, 121)
    assert found(collection, new, "common w1 w1 w1", 1)[0][0] == "d0500"
    assert sorted(new.encoded) == sorted(
        collection.passages([f"d{n:04}" for n in range(501)]).values()
    )


def test_searches_of_what_is_not_complete_do_not_count_its_vectors_each(
    collection: EmbeddedCollection, new: Encoder, monkeypatch
):
    """A count reads all numbers of vectors there are."""
    now, counts = [1000.0], []
    count = stored_generations.StoredGeneration.count

    def counted(stored: stored_generations.StoredGeneration) -> int:
        counts.append(stored)
        return count(stored)

    fill(collection)
    new.gate.clear()
    collection.add_generation(new)
    monkeypatch.setattr(stored_generations.StoredGeneration, "count", counted)
    monkeypatch.setattr(generation, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def detail() -> str:
        return collection.dense(new.encode_queries(["w"])[0], None, 5, identity_of(new)).detail

    assert len({detail() for _ in range(50)}) == 1
    assert len(counts) == 1
    collection.upsert([a_document(500)])
    now[0] += generation.COUNT_SECONDS
    assert "121 documents have no vector" in detail()
    assert len(counts) == 2


def test_a_generation_never_asked_for_says_whose_there_are(
    collection: EmbeddedCollection, new: Encoder
):
    leg = collection.dense(new.encode_queries(["x"])[0], None, 5, identity_of(new))
    assert leg.reason is StageReason.INDEX_UNAVAILABLE
    assert "fake-1" in leg.detail
    assert "fake-2" in leg.detail


def test_writes_meanwhile_leave_nothing_stale(collection: EmbeddedCollection, new: Encoder):
    fill(collection)
    new.gate.clear()
    collection.add_generation(new)
    collection.upsert([a_document(n, "changed under way") for n in range(0, 30)])
    collection.delete([f"d{n:04}" for n in range(30, 40)])
    new.gate.set()
    settled(collection, new)
    gone = {f"d{n:04}" for n in range(30, 40)}
    for encoder in (new, FakeBiEncoder()):
        best = [doc_id for doc_id, _ in found(collection, encoder, "common changed under way", 30)]
        assert sorted(best) == [f"d{n:04}" for n in range(30)]
        assert not gone & {doc_id for doc_id, _ in found(collection, encoder, "common", 200)}
    collection.upsert([a_document(n, "changed once more") for n in range(50, 60)])
    collection.delete(["d0000"])
    settled(collection, new)
    for encoder in (new, FakeBiEncoder()):
        best = [doc_id for doc_id, _ in found(collection, encoder, "common once more", 10)]
        assert sorted(best) == [f"d{n:04}" for n in range(50, 60)]
        assert "d0000" not in dict(found(collection, encoder, "common", 200))
    assert collection.verify() == []


def test_a_changed_document_is_not_found_by_its_old_vector(
    collection: EmbeddedCollection, new: Encoder
):
    """Not even while the new one is still to be made."""
    fill(collection)
    collection.add_generation(new)
    ready(collection, new)
    new.gate.clear()
    best = found(collection, new, "common w1 w2", 1)[0][0]
    written = collection.upsert([a_document(int(best[1:]), "something else")])
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    assert collection._derived.wait_indexed(WAIT_SECONDS)
    assert best not in dict(found(collection, new, "common w1 w2", 200))
    assert collection.generation_progress(identity_of(new)) == (119, 120)
    new.gate.set()
    settled(collection, new)
    assert best in dict(found(collection, new, "something else", 200))


def test_one_just_built_is_saved_for_it_was_much(
    collection: EmbeddedCollection, new: Encoder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(generation, "SAVE_CHANGED_LEAST", 100)
    saved = threading.Event()
    save = generation.Generation.save

    def tell(each: generation.Generation) -> None:
        save(each)
        if each.identity == identity_of(new):
            saved.set()

    monkeypatch.setattr(generation.Generation, "save", tell)
    fill(collection)
    collection.add_generation(new)
    assert saved.wait(WAIT_SECONDS)
    assert (collection.folder / "dense-2" / "manifest.json").exists()


def test_a_failing_bi_encoder_harms_nobody_else(
    collection: EmbeddedCollection, new: Encoder, monkeypatch: pytest.MonkeyPatch, caplog
):
    monkeypatch.setattr(background, "MAX_RETRY_SECONDS", 0.01)
    fill(collection)
    new.failing = "made to fail"
    third = Encoder("fake-3", 32)
    collection.add_generation(new)
    collection.add_generation(third)
    ready(collection, third)
    write(collection, [a_document(300, "w1")])
    assert not collection.wait_generation(identity_of(new), 0.02)
    assert collection.generation_failure(identity_of(new)) == "made to fail"
    assert collection.generation_failure(identity_of(third)) == ""
    leg = collection.dense(new.encode_queries(["w1"])[0], None, 5, identity_of(new))
    assert "made to fail" in leg.detail
    new.failing = ""
    ready(collection, new)
    assert collection.generation_failure(identity_of(new)) == ""
    assert len(found(collection, new, "w1")) == 10
