"""The index thread: one index that fails is tried again, and holds nobody back."""

from __future__ import annotations

import threading

from recalling import WAIT_SECONDS, Encoder, a_document, dense_ids, lexical_ids, write

import sidecar.recall.embedded.derived as derived_module
from sidecar.errors import StorageError
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.encoding import identity_of


def test_a_failing_index_is_tried_again(collection: EmbeddedCollection, monkeypatch, caplog):
    monkeypatch.setattr(derived_module, "MAX_RETRY_SECONDS", 0.01)
    apply, failed = collection._derived.lexical.apply, threading.Event()

    def fail_once(changes):
        if not failed.is_set():
            failed.set()
            raise StorageError("made to fail")
        apply(changes)

    monkeypatch.setattr(collection._derived.lexical, "apply", fail_once)
    write(collection, [a_document(1)])
    assert failed.is_set()
    assert lexical_ids(collection, "common") == ["d0001"]


def test_whatever_fails_in_the_index_thread_it_goes_on(
    collection: EmbeddedCollection, monkeypatch, caplog
):
    advance, failed = derived_module.DerivedIndexes._advance, threading.Event()

    def fail_once(self):
        if not failed.is_set():
            failed.set()
            raise RuntimeError("unheard of")
        advance(self)

    monkeypatch.setattr(derived_module.DerivedIndexes, "_advance", fail_once)
    collection.upsert([a_document(1)])
    assert failed.wait(WAIT_SECONDS)
    written = collection.upsert([a_document(2)])
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    assert "unheard of" in caplog.text


def test_a_failing_index_does_not_hold_the_other_back(collection: EmbeddedCollection, monkeypatch):
    gate = threading.Event()
    dense = collection._derived.generations.leading.dense
    dense_apply = dense.apply

    def fail(changes):
        raise StorageError("made to fail")

    def tell(changes, bi_encoder):
        dense_apply(changes, bi_encoder)
        gate.set()

    with monkeypatch.context() as broken:
        broken.setattr(collection._derived.lexical, "apply", fail)
        broken.setattr(dense, "apply", tell)
        broken.setattr(derived_module, "MAX_RETRY_SECONDS", 0.01)
        collection.upsert([a_document(1)])
        assert gate.wait(WAIT_SECONDS)
        assert dense_ids(collection, "common") == ["d0001"]
        assert lexical_ids(collection, "common") == []
    assert collection.wait_searchable(1, WAIT_SECONDS)
    assert collection.verify() == []


def test_however_long_one_index_fails_the_others_have_each_write_at_once(
    collection: EmbeddedCollection, monkeypatch, caplog
):
    def fail(changes, bi_encoder):
        raise StorageError("made to fail")

    other = Encoder()
    collection.add_generation(other)
    assert collection.wait_generation(identity_of(other), WAIT_SECONDS)
    derived = collection._derived
    beside = derived.generations.get(identity_of(other))
    with monkeypatch.context() as broken:
        broken.setattr(beside.dense, "apply", fail)
        for number in range(5):  # each would wait for twice as long as the one before
            written = collection.upsert([a_document(number)])
            assert collection.wait_searchable(written.sequence, 10)
        assert "made to fail" in derived.failure
        assert "made to fail" not in derived.lexical_fault()
    assert collection.wait_up_to_date(identity_of(other), WAIT_SECONDS)
    assert derived.failure == ""
    assert collection.verify() == []
