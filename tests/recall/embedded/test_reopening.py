"""A collection closed and opened again: as it was, of another kind, with another bi-encoder."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
from fakes import BI_ENCODER_CONTRACT, FakeBiEncoder
from recalling import (
    CONFIG,
    SCHEMA,
    WAIT_SECONDS,
    a_collection,
    a_document,
    dense_ids,
    lexical_ids,
    reopened,
    write,
)

import sidecar.recall.embedded.derived as derived_module
from sidecar.config import Config, DenseIndexConfig
from sidecar.errors import InvalidFieldError
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.types import StageReason


@pytest.mark.parametrize("kind", ["auto", "flat", "fp16", "ivf", "hnsw"])
def test_closed_and_opened_again(tmp_path: Path, kind: str):
    collection = a_collection(tmp_path, kind=kind)
    config = Config(
        dense_index=DenseIndexConfig(kind=kind, exact_vectors=100, ivf_lists=4, ivf_probes=2)
    )
    write(collection, [a_document(n) for n in range(300)])
    collection.delete(["d0001", "d0002"])
    before = lexical_ids(collection, "word7 common"), dense_ids(collection, "word9", 1)
    again = reopened(collection, config=config)
    assert (lexical_ids(again, "word7 common"), dense_ids(again, "word9", 1)) == before
    assert again.stats().searchable_sequence == 302
    assert again.verify() == []
    write(again, [a_document(1, "back")])
    third = reopened(again, config=config)
    assert lexical_ids(third, "back") == ["d0001"]
    assert third.verify() == []
    third.close()


def test_a_changed_kind_is_built_anew(tmp_path: Path):
    collection = a_collection(tmp_path, kind="fp16")
    write(collection, [a_document(n) for n in range(50)])
    again = reopened(collection, config=Config(dense_index=DenseIndexConfig(kind="flat")))
    assert again.stats().dense_count == 50
    assert again.verify() == []
    again.close()


def test_without_a_bi_encoder_and_then_with_one(tmp_path: Path):
    collection = EmbeddedCollection.create(tmp_path / "c", "c", SCHEMA, None, CONFIG)
    write(collection, [a_document(n) for n in range(300)])
    leg = collection.dense(np.ones(64, np.float32), None, 5)
    assert leg.reason is StageReason.NOT_CONFIGURED
    assert collection.describe().bi_encoder == ""
    with pytest.raises(InvalidFieldError, match="no bi-encoder"):
        collection.upsert([dataclasses.replace(a_document(1), vector=[1.0] * 64)])
    assert collection.verify() == []
    again = reopened(collection)
    assert again.wait_searchable(again.stats().durable_sequence, WAIT_SECONDS)
    assert again.describe().bi_encoder == "fake-words"
    assert dense_ids(again, "common word9", 1) == ["d0009"]
    assert again.stats().dense_count == 300
    assert again.verify() == []
    again.close()


def test_vectors_of_another_revision_are_never_mixed(tmp_path: Path):
    collection = a_collection(tmp_path)
    write(collection, [a_document(1)])
    other = FakeBiEncoder(dataclasses.replace(BI_ENCODER_CONTRACT, revision="fake-2"))
    again = reopened(collection, other)
    leg = again.dense(other.encode_queries(["x"])[0], None, 5)
    assert leg.reason is StageReason.INDEX_UNAVAILABLE
    assert "fake-1" in leg.detail
    assert "fake-2" in leg.detail
    write(again, [a_document(2)])
    assert again.get(["d0002"], include_vectors=True)[0].vector is None
    assert lexical_ids(again, "common") == ["d0001", "d0002"]
    third = reopened(again)
    assert third.wait_searchable(third.stats().durable_sequence, WAIT_SECONDS)
    assert sorted(dense_ids(third, "common")) == ["d0001", "d0002"]
    assert third.verify() == []
    third.close()


def test_the_other_leg_serves_while_one_is_built(tmp_path: Path, monkeypatch):
    import shutil

    collection = a_collection(tmp_path)
    write(collection, [a_document(n) for n in range(50)])
    collection.close()
    shutil.rmtree(collection.folder / "lexical")
    gate = threading.Event()
    step = derived_module.DerivedIndexes._step_lexical
    monkeypatch.setattr(
        derived_module.DerivedIndexes, "_step_lexical", lambda self: (gate.wait(), step(self))
    )
    again = EmbeddedCollection.open(
        collection.folder, FakeBiEncoder(), CONFIG, catch_up_seconds=0.0
    )
    leg = again.lexical("common", None, 5)
    assert (leg.reason, leg.recalled) == (StageReason.INDEX_UNAVAILABLE, ())
    assert "50 writes behind" in leg.detail
    assert len(dense_ids(again, "common", 5)) == 5
    gate.set()
    assert again.wait_searchable(50, WAIT_SECONDS)
    assert len(lexical_ids(again, "common", 5)) == 5
    again.close()
