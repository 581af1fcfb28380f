"""Generations across all collections of a catalog: one exchange for all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeBiEncoder
from recalling import SCHEMA, WAIT_SECONDS, Encoder, a_document, assert_same, scanned, write

from sidecar.config import Config
from sidecar.errors import ModelChangeError, StorageError
from sidecar.recall.catalog import Catalog
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.encoding import identity_of
from sidecar.types import StageReason

NAMES = ("apples", "pears", "quinces")
OLD = identity_of(FakeBiEncoder())


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = filled(tmp_path)
    yield catalog
    catalog.close()


@pytest.fixture
def new() -> Iterator[Encoder]:
    encoder = Encoder()
    yield encoder
    encoder.gate.set()


def filled(folder: Path) -> Catalog:
    catalog = Catalog.open(folder, FakeBiEncoder(), Config())
    for name in NAMES:
        write(catalog.create(name, SCHEMA), [a_document(n, f"{name} number{n}") for n in range(30)])
    return catalog


def served_by(catalog: Catalog, encoder: FakeBiEncoder) -> list[str]:
    """The collections that find their documents by a bi-encoder, as a scan does."""
    served = []
    for collection in catalog.list():
        query = f"common {collection.name} number7"
        vector = encoder.encode_queries([query])[0]
        leg = collection.dense(vector, None, 5, identity_of(encoder))
        if leg.recalled:
            assert leg.reason is StageReason.NONE
            held = {f"d{n:04}": f"{collection.name} number{n}" for n in range(30)}
            found = [(each.doc_id, each.score) for each in leg.recalled]
            assert_same(found, scanned(held, encoder, query, 5))
            served.append(collection.name)
    return served


def test_every_collection_gets_it_also_one_created_later(catalog: Catalog, new: Encoder):
    new.gate.clear()
    catalog.add_generation(new)
    late = catalog.create("zebras", SCHEMA)
    assert catalog.generation_progress(identity_of(new)) == (0, 90)
    assert not catalog.wait_generation(identity_of(new), 0.02)
    assert served_by(catalog, new) == []
    assert late.wait_generation(identity_of(new), 0.0)
    assert served_by(catalog, FakeBiEncoder()) == list(NAMES)
    new.gate.set()
    assert catalog.wait_generation(identity_of(new), WAIT_SECONDS)
    assert catalog.generation_progress(identity_of(new)) == (90, 90)
    assert served_by(catalog, new) == list(NAMES)
    write(late, [a_document(n, f"zebras number{n}") for n in range(30)])
    assert late.wait_up_to_date(identity_of(new), WAIT_SECONDS)
    assert served_by(catalog, new) == [*NAMES, "zebras"]


def test_it_leads_everywhere_and_also_in_what_is_created_then(catalog: Catalog, new: Encoder):
    catalog.add_generation(new)
    assert catalog.wait_generation(identity_of(new), None)
    catalog.lead_with(new)
    catalog.lead_with(new)
    catalog.create("zebras", SCHEMA)
    for collection in catalog.list():
        assert collection.describe().bi_encoder_revision == "fake-2"
        write(collection, [a_document(n, f"{collection.name} number{n}") for n in range(30)])
        assert collection.wait_up_to_date(OLD, WAIT_SECONDS)
    assert served_by(catalog, FakeBiEncoder()) == [*NAMES, "zebras"]
    catalog.drop_generation(OLD)
    assert served_by(catalog, FakeBiEncoder()) == []
    assert served_by(catalog, new) == [*NAMES, "zebras"]
    catalog.create("ants", SCHEMA)
    assert list(catalog.get("ants")._store.generations) == [identity_of(new)]
    assert [collection.verify() for collection in catalog.list()] == [[]] * 5


def test_back_and_forth(catalog: Catalog, new: Encoder):
    catalog.add_generation(new)
    assert catalog.wait_generation(identity_of(new), WAIT_SECONDS)
    catalog.lead_with(new)
    catalog.lead_with(FakeBiEncoder())
    catalog.drop_generation(identity_of(new))
    calls = len(new.batches)
    for collection in catalog.list():
        write(collection, [a_document(1, f"{collection.name} number1")])
        assert collection.describe().bi_encoder_revision == "fake-1"
    assert len(new.batches) == calls
    catalog.add_generation(new)
    assert catalog.wait_generation(identity_of(new), WAIT_SECONDS)
    assert served_by(catalog, new) == list(NAMES)


def test_what_is_not_complete_everywhere_does_not_lead(catalog: Catalog, new: Encoder):
    with pytest.raises(ModelChangeError, match=r"'apples' has vectors of .* for 0 of 30"):
        catalog.lead_with(new)
    new.gate.clear()
    catalog.add_generation(new)
    with pytest.raises(ModelChangeError):
        catalog.lead_with(new)
    for collection in catalog.list():
        assert collection.describe().bi_encoder_revision == "fake-1"
    new.gate.set()


def test_what_leads_is_not_dropped(catalog: Catalog, new: Encoder):
    with pytest.raises(ModelChangeError, match="fake-1 leads"):
        catalog.drop_generation(OLD)
    assert served_by(catalog, FakeBiEncoder()) == list(NAMES)
    catalog.drop_generation(identity_of(new))


def test_the_bi_encoder_given_first_is_kept(catalog: Catalog, new: Encoder):
    """Whoever loads a model twice closes the second."""
    again = Encoder()
    catalog.add_generation(new)
    catalog.add_generation(again)
    assert catalog.wait_generation(identity_of(new), WAIT_SECONDS)
    catalog.lead_with(again)
    write(catalog.get("pears"), [a_document(1)])
    write(catalog.create("zebras", SCHEMA), [a_document(1)])
    assert again.batches == []


def test_a_failure_is_said_with_its_collection(catalog: Catalog, new: Encoder):
    new.failing = "made to fail"
    catalog.add_generation(new)
    assert not catalog.wait_generation(identity_of(new), 0.05)
    assert "made to fail" in catalog.generation_failure(identity_of(new))
    assert catalog.generation_failure(OLD) == ""
    catalog.drop_generation(identity_of(new))
    assert catalog.generation_failure(identity_of(new)) == ""


def test_a_collection_dropped_meanwhile_is_not_waited_for(catalog: Catalog, new: Encoder):
    new.gate.clear()
    catalog.add_generation(new)
    waited: list[bool] = []
    waiting = threading.Thread(
        target=lambda: waited.append(catalog.wait_generation(identity_of(new), WAIT_SECONDS))
    )
    waiting.start()
    dropping = threading.Thread(target=catalog.drop, args=("apples",))
    dropping.start()
    new.gate.set()
    dropping.join(WAIT_SECONDS)
    waiting.join(WAIT_SECONDS)
    assert waited == [True]
    assert served_by(catalog, new) == ["pears", "quinces"]


def test_a_closed_catalog_ends_the_waiting(tmp_path: Path, new: Encoder):
    catalog = filled(tmp_path)
    new.failing = "never"
    catalog.add_generation(new)
    waited: list[bool] = []
    waiting = threading.Thread(
        target=lambda: waited.append(catalog.wait_generation(identity_of(new), None))
    )
    waiting.start()
    catalog.close()
    waiting.join(WAIT_SECONDS)
    assert waited == [False]
    assert catalog.wait_generation(identity_of(new), 0.0) is False


@pytest.mark.parametrize("after", range(len(NAMES) + 1))
def test_a_crash_between_the_collections_leaves_both_served(
    tmp_path: Path, monkeypatch, new: Encoder, after: int
):
    catalog = filled(tmp_path)
    catalog.add_generation(new)
    assert catalog.wait_generation(identity_of(new), WAIT_SECONDS)
    led: list[str] = []
    lead = EmbeddedCollection.lead_with

    def crash(collection: EmbeddedCollection, identity) -> None:
        if len(led) == after:
            raise KeyboardInterrupt
        led.append(collection.name)
        lead(collection, identity)

    with monkeypatch.context() as patched:
        patched.setattr(EmbeddedCollection, "lead_with", crash)
        if after < len(NAMES):
            with pytest.raises(KeyboardInterrupt):
                catalog.lead_with(new)
        else:
            catalog.lead_with(new)
    assert led == list(NAMES[:after])
    assert served_by(catalog, new) == served_by(catalog, FakeBiEncoder()) == list(NAMES)
    catalog.close()
    for encoder in (FakeBiEncoder(), new, FakeBiEncoder()):
        again = Catalog.open(tmp_path, encoder, Config())
        assert served_by(again, encoder) == list(NAMES)
        revisions = {each.describe().bi_encoder_revision for each in again.list()}
        assert revisions == {encoder.contract.revision}
        assert [(*each.verify(), *each.repairs) for each in again.list()] == [()] * 3
        again.close()


def test_a_full_disk_at_one_collection_is_said_and_mended_by_another_try(
    catalog: Catalog, new: Encoder, monkeypatch
):
    catalog.add_generation(new)
    assert catalog.wait_generation(identity_of(new), WAIT_SECONDS)
    store = catalog.get("pears")._store

    def full(identity) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(store, "lead", full)
        with pytest.raises(StorageError, match="disk is full"):
            catalog.lead_with(new)
    leading = [each.describe().bi_encoder_revision for each in catalog.list()]
    assert leading == ["fake-2", "fake-1", "fake-1"]
    with pytest.raises(ModelChangeError, match="leads in collection 'apples'"):
        catalog.drop_generation(identity_of(new))
    assert served_by(catalog, new) == served_by(catalog, FakeBiEncoder()) == list(NAMES)
    catalog.lead_with(FakeBiEncoder())
    catalog.drop_generation(identity_of(new))
    assert {each.describe().bi_encoder_revision for each in catalog.list()} == {"fake-1"}


def test_a_damaged_collection_does_not_keep_the_others(tmp_path: Path, new: Encoder):
    filled(tmp_path).close()
    (tmp_path / "collections" / "apples" / "documents.sqlite").write_bytes(b"x" * 9000)
    catalog = Catalog.open(tmp_path, FakeBiEncoder(), Config())
    catalog.add_generation(new)
    assert catalog.wait_generation(identity_of(new), WAIT_SECONDS)
    catalog.lead_with(new)
    assert served_by(catalog, new) == ["pears", "quinces"]
    catalog.close()


def test_one_at_rest_is_known_and_goes_without_its_bi_encoder(tmp_path: Path, new: Encoder):
    catalog = filled(tmp_path)
    catalog.add_generation(new)
    assert catalog.wait_generation(identity_of(new), WAIT_SECONDS)
    catalog.close()
    again = Catalog.open(tmp_path, FakeBiEncoder(), Config())
    assert again.generations() == {OLD, identity_of(new)}
    assert again.generation_progress(identity_of(new)) == (90, 90)
    again.drop_generation(identity_of(new))
    assert again.generations() == {OLD}
    assert list(tmp_path.glob("collections/*/dense-2")) == []
    assert [each.verify() for each in again.list()] == [[]] * 3
    again.close()


def test_without_any_bi_encoder_one_can_come(tmp_path: Path, new: Encoder):
    catalog = Catalog.open(tmp_path, None, Config())
    write(catalog.create("apples", SCHEMA), [a_document(n, f"apples number{n}") for n in range(30)])
    catalog.add_generation(new)
    assert catalog.wait_generation(identity_of(new), WAIT_SECONDS)
    assert catalog.get("apples").describe().bi_encoder == ""
    catalog.lead_with(new)
    assert catalog.get("apples").describe().bi_encoder_revision == "fake-2"
    assert served_by(catalog, new) == ["apples"]
    catalog.close()
