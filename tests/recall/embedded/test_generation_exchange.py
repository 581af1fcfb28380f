"""Another generation leads: what it finds, what is written then, and what stays searchable."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
from fakes import FakeBiEncoder
from generations import fill, found, ready, settled, texts
from recalling import WAIT_SECONDS, Encoder, a_document, assert_same, scanned, write

from sidecar.errors import InvalidFieldError
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.encoding import identity_of


def test_the_leading_one_is_exchanged(collection: EmbeddedCollection, new: Encoder):
    old = Encoder("fake-1", 64)
    written = fill(collection)
    collection.add_generation(new)
    ready(collection, new)
    collection.lead_with(identity_of(new))
    about = collection.describe()
    assert (about.bi_encoder_revision, about.dimensions) == ("fake-2", 48)
    assert collection.stats().searchable_sequence == collection.stats().durable_sequence == 120
    new.encoded.clear()
    done = collection.upsert([a_document(200, "w1 w1")])
    assert new.encoded == ["common\nw1 w1"]
    assert collection.wait_searchable(done.sequence, WAIT_SECONDS)
    vector = new.encode_queries(["common w1 w1"])[0]
    assert collection.dense(vector, None, 1).recalled[0].doc_id == "d0200"
    assert len(collection.get(["d0007"], include_vectors=True)[0].vector or ()) == 48
    held = {f"d{n:04}": text for n, text in enumerate(written)} | {"d0200": "w1 w1"}
    settled(collection, old)
    for query in texts(5, seed=2):
        assert_same(found(collection, new, query), scanned(held, new, query))
        plain = FakeBiEncoder()
        assert_same(found(collection, plain, query), scanned(held, plain, query))
    with pytest.raises(InvalidFieldError, match="has 64 values"):
        collection.upsert([dataclasses.replace(a_document(1), vector=[1.0] * 64)])
    assert collection.verify() == []


def test_a_callers_vector_is_of_the_leading_one(collection: EmbeddedCollection, new: Encoder):
    own = [0.0] * 63 + [1.0]
    write(collection, [dataclasses.replace(a_document(1, "red fox"), vector=own), a_document(2)])
    collection.add_generation(new)
    ready(collection, new)
    collection.lead_with(identity_of(new))
    wanted = new.encode_queries(["common\nred fox"])[0]
    read = collection.get(["d0001"], include_vectors=True)[0].vector
    assert np.allclose(read, wanted, atol=1e-6)
    write(collection, [dataclasses.replace(a_document(2), vector=[0.0] * 47 + [3.0])])
    assert collection.get(["d0002"], include_vectors=True)[0].vector == [0.0] * 47 + [1.0]
    settled(collection, FakeBiEncoder())
    assert found(collection, FakeBiEncoder(), "common word2", 1)[0][0] == "d0002"


def test_what_is_searchable_stays_so_under_writers(collection: EmbeddedCollection, new: Encoder):
    """Sequence numbers that were searchable once, before, during and after the exchange."""
    fill(collection, 60)
    collection.add_generation(new)
    ready(collection, new)
    stop, seen, fallen = threading.Event(), [0], []

    def write_on() -> None:
        number = 1000
        while not stop.is_set():
            collection.upsert([a_document(number)])
            number += 1

    def watch() -> None:
        while not stop.is_set():
            now = collection.searchable_sequence
            if now < seen[0]:
                fallen.append((seen[0], now))
            seen[0] = max(seen[0], now)

    threads = [threading.Thread(target=each) for each in (write_on, watch)]
    for thread in threads:
        thread.start()
    for encoder in (new, FakeBiEncoder(), new):
        collection.lead_with(identity_of(encoder))
    stop.set()
    for thread in threads:
        thread.join()
    assert collection.wait_searchable(collection.stats().durable_sequence, WAIT_SECONDS)
    assert collection.verify() == []
    # A write that began under the other leading one is found by the new one a little later.
    assert all(before - now <= 1 for before, now in fallen), fallen
