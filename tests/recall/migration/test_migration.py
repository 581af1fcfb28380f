"""A collection moves while it serves: the switch, what refuses it, and what comes after."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
from elsewhere import BACKEND, Elsewhere
from fakes import BI_ENCODER_CONTRACT, FakeBiEncoder
from migrating import NAME, World
from recalling import a_document

from sidecar.errors import CallerLeftError, MigrationError, StorageError, TooLargeError
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.encoding import identity_of
from sidecar.recall.migration import migration, moves
from sidecar.recall.migration.migration import Terms
from sidecar.recall.remote import is_remote

OTHER = dataclasses.replace(BI_ENCODER_CONTRACT, name="other")


def test_moved_reopened_finished(world: World):
    before = world.collection.describe()
    migrated = world.migrate()
    assert migrated.document_count == migrated.comparison.documents == len(world.held)
    assert migrated.comparison.lexical_overlap == migrated.comparison.dense_overlap == 1.0
    assert 0.0 < migrated.held_seconds < migration.HOLD_SECONDS
    assert isinstance(world.collection, Elsewhere)
    after = world.collection.describe()
    assert after.incarnation == migrated.incarnation != before.incarnation
    assert after.backend == migrated.backend
    world.check()
    world.upsert(a_document(90))
    world.reopen()
    world.upsert(a_document(91))
    world.delete("d0005")
    world.check()
    assert (world.folder / "documents.sqlite").exists()
    world.finish()
    assert [path.name for path in world.folder.iterdir()] == ["backend.json"]
    world.reopen()
    world.check()
    with pytest.raises(MigrationError):
        world.back()


def test_what_is_finished_after_a_restart_says_how_many_documents_there_are(
    world: World, monkeypatch
):
    """A backend that keeps its documents elsewhere has counted none by then."""
    world.migrate()
    world.reopen()
    counted: list[int] = []
    stats, describe = Elsewhere.stats, Elsewhere.describe

    def counting_stats(there: Elsewhere):
        counted.append(stats(there).document_count)
        return stats(there)

    def of_last_count(there: Elsewhere):
        return dataclasses.replace(describe(there), document_count=counted[-1] if counted else 0)

    monkeypatch.setattr(Elsewhere, "stats", counting_stats)
    monkeypatch.setattr(Elsewhere, "describe", of_last_count)
    assert world.finish().document_count == len(world.held)


def test_it_has_moved_though_what_it_left_cannot_be_put_aside(world: World, monkeypatch, caplog):
    put_aside = EmbeddedCollection.put_aside

    def failing(source: EmbeddedCollection) -> None:
        put_aside(source)
        raise StorageError("the disk is full")

    monkeypatch.setattr(EmbeddedCollection, "put_aside", failing)
    assert world.migrate().document_count == len(world.held)
    assert "the disk is full" in caplog.text
    world.check()


def test_not_while_another_bi_encoder_is_brought_in(world: World, monkeypatch):
    """What cannot have its vectors would stop every change of the model."""
    other = FakeBiEncoder(OTHER)
    world.catalog.add_generation(other)
    monkeypatch.setattr(Elsewhere, "generation_refusal", lambda there, identity: "has others only")
    with pytest.raises(MigrationError, match="has others only"):
        world.migrate()
    assert not isinstance(world.collection, Elsewhere)
    world.catalog.drop_generation(identity_of(other))
    world.migrate()
    assert isinstance(world.collection, Elsewhere)
    world.check()


def test_nor_if_it_comes_just_before_the_switch(world: World, monkeypatch):
    other, compare = FakeBiEncoder(OTHER), migration.Comparer.compare

    def and_add(comparer):
        found = compare(comparer)
        world.catalog.add_generation(other)
        return found

    monkeypatch.setattr(Elsewhere, "generation_refusal", lambda there, identity: "has others only")
    monkeypatch.setattr(migration.Comparer, "compare", and_add)
    with pytest.raises(MigrationError, match="has others only"):
        world.migrate()
    assert not is_remote(world.folder)
    world.check()


def test_a_document_that_the_backend_does_not_accept_is_named(world: World, monkeypatch):
    upsert = Elsewhere.upsert

    def narrow(there: Elsewhere, documents, **more):
        for position, document in enumerate(documents):
            if document.doc_id == "d0010":
                raise TooLargeError(f"documents[{position}].fields", "65,535 bytes are the most")
        return upsert(there, documents, **more)

    monkeypatch.setattr(Elsewhere, "upsert", narrow)
    with pytest.raises(MigrationError, match=r"document 'd0010' .* fields: 65,535 bytes"):
        world.migrate()
    world.delete("d0010")
    world.migrate()
    world.check()


def test_a_search_under_way_ends_on_what_it_opened(world: World):
    before = world.collection
    last = world.collection.upsert([a_document(8, "last")]).sequence
    world.held["d0008"] = a_document(8, "last")
    world.migrate()
    assert before is not world.collection
    assert before.wait_searchable(last, 0.0), "nobody who waits for it is sent away"
    assert len(before.lexical("common", None, 500).recalled) == len(world.held)
    assert len(before.passages(sorted(world.held))) == len(world.held)
    before.upsert([a_document(95)])
    world.held["d0095"] = a_document(95)
    world.check()


def test_one_at_a_time(world: World):
    with world.catalog.moving(NAME), pytest.raises(MigrationError):
        world.migrate()
    world.migrate()
    with pytest.raises(MigrationError):
        world.migrate()


def test_it_ends_when_nobody_wants_it_any_more(world: World):
    """At any of the times that it is asked, and it goes on afterwards."""
    most = 1
    while not is_remote(world.folder):
        told: list[str] = []
        most += 4

        def leave(step: str, done: int, total: int, most: int = most, told=told) -> None:
            told.append(step)
            assert 0 <= done <= total
            if len(told) == most:
                raise CallerLeftError("left")

        with world.catalog.moving(NAME) as moving, contextlib.suppress(CallerLeftError):
            moves.move(moving, BACKEND, Terms(), leave)
        world.check()
    assert most > 5
