"""A collection of several generations is opened: with another, one that is not complete, none."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeBiEncoder
from generations import fill, found, ready, settled
from recalling import CONFIG, WAIT_SECONDS, Encoder, a_collection, a_document, reopened, write

from sidecar.errors import ModelError
from sidecar.recall.embedded import generations as generations_module
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.encoding import identity_of
from sidecar.types import StageReason


def test_closed_under_way_it_goes_on_where_it_was(tmp_path: Path, new: Encoder):
    collection = a_collection(tmp_path)
    fill(collection)
    failed = threading.Event()
    encode = new.encode_passages

    def stop_after_one(texts: Sequence[str]) -> np.ndarray:
        if new.batches:
            failed.set()
            raise ModelError("enough")
        return encode(texts)

    new.encode_passages = stop_after_one  # type: ignore[method-assign]
    collection.add_generation(new)
    assert failed.wait(WAIT_SECONDS)
    collection.close()
    done = len(new.encoded)
    assert 0 < done < 120
    new.encode_passages = encode  # type: ignore[method-assign]
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    assert again.describe().bi_encoder_revision == "fake-1"
    assert again.generation_progress(identity_of(new)) == (done, 120)
    again.add_generation(new)
    ready(again, new)
    assert len(new.encoded) == 120
    assert again.verify() == []
    again.close()


def test_opened_with_the_other_it_leads(tmp_path: Path, new: Encoder):
    collection = a_collection(tmp_path)
    fill(collection)
    collection.add_generation(new)
    ready(collection, new)
    again = reopened(collection, new)
    assert again.describe().bi_encoder_revision == "fake-2"
    assert len(found(again, new, "w1")) == 10
    write(again, [a_document(7, "by the new one"), a_document(900, "w1")])
    assert again.verify() == []
    back = reopened(again, FakeBiEncoder())
    assert back.describe().bi_encoder_revision == "fake-1"
    assert back.wait_searchable(back.stats().durable_sequence, WAIT_SECONDS)
    assert found(back, FakeBiEncoder(), "common by the new one", 1)[0][0] == "d0007"
    assert back.verify() == []
    assert back.repairs == ()
    back.close()


def test_opened_with_one_under_way_it_leads_once_complete(tmp_path: Path, new: Encoder):
    collection = a_collection(tmp_path)
    fill(collection)
    new.failing = "not now"
    collection.add_generation(new)
    collection.close()
    new.failing = ""
    new.gate.clear()
    again = EmbeddedCollection.open(collection.folder, new, CONFIG)
    leg = again.dense(new.encode_queries(["w1"])[0], None, 5)
    assert leg.reason is StageReason.INDEX_UNAVAILABLE
    assert again.stats().searchable_sequence == 0
    new.gate.set()
    assert again.wait_searchable(120, WAIT_SECONDS)
    assert len(found(again, new, "w1")) == 10
    again.close()


def test_away_for_long_it_is_built_anew_and_nothing_is_wrong(tmp_path: Path, new: Encoder):
    """Deletions that it missed are not remembered for it."""
    collection = a_collection(tmp_path)
    fill(collection)
    collection.add_generation(new)
    ready(collection, new)
    again = reopened(collection, FakeBiEncoder())
    again.delete([f"d{n:04}" for n in range(50)])
    write(again, [a_document(60, "newer")])
    third = reopened(again, FakeBiEncoder())
    assert third._store.pruned_sequence() > 120
    third.add_generation(new)
    settled(third, new)
    assert third.repairs == ()
    assert third.verify() == []
    assert found(third, new, "common newer", 1)[0][0] == "d0060"
    assert len(found(third, new, "common", 200)) == 70
    third.close()


def test_deletions_are_not_forgotten_while_it_is_opened(
    tmp_path: Path, new: Encoder, monkeypatch: pytest.MonkeyPatch
):
    """All the others have them, and its own index, older than they are, is in memory already."""
    collection = a_collection(tmp_path)
    fill(collection)
    collection.add_generation(new)
    settled(collection, new)
    again = reopened(collection, FakeBiEncoder())
    deleted = again.delete([f"d{n:04}" for n in range(50)])
    assert again.wait_searchable(deleted.sequence, WAIT_SECONDS)
    derived = again._derived
    leading, opened = derived.generations.leading, generations_module.Generation

    def prune_meanwhile(*arguments):
        added = opened(*arguments)
        leading.save()
        derived._prune()  # as the index thread does after a snapshot
        return added

    monkeypatch.setattr(generations_module, "Generation", prune_meanwhile)
    again.add_generation(new)
    settled(again, new)
    assert derived.wait_indexed(WAIT_SECONDS)
    assert derived.generations.get(identity_of(new)).dense.count == 70
    assert len(found(again, new, "common", 200)) == 70
    assert again.verify() == []
    again.close()


def test_without_a_bi_encoder_for_a_while(tmp_path: Path, new: Encoder):
    collection = a_collection(tmp_path)
    fill(collection)
    collection.add_generation(new)
    ready(collection, new)
    bare = reopened(collection, None)
    bare.upsert([a_document(1, "changed while none was there"), a_document(700)])
    bare.delete(["d0002"])
    again = reopened(bare, FakeBiEncoder())
    again.add_generation(new)
    settled(again, FakeBiEncoder(), new)
    for encoder in (FakeBiEncoder(), new):
        assert found(again, encoder, "common changed while none was there", 1)[0][0] == "d0001"
        assert "d0002" not in dict(found(again, encoder, "common", 200))
    assert again.verify() == []
    again.close()
