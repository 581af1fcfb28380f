"""The way back from a backend: what it loses is said, and a kill on the way loses nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from elsewhere import Elsewhere, Killed
from migrating import World
from recalling import WAIT_SECONDS, a_document

from sidecar.errors import MigrationError
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.migration import moves
from sidecar.recall.remote import is_remote
from sidecar.storage.files import remove_tree
from sidecar.types import Document


def test_the_way_back_says_what_it_loses(world: World):
    first = world.collection.describe().incarnation
    world.migrate()
    world.back()
    assert not is_remote(world.folder)
    assert world.collection.describe().incarnation == first
    world.check()
    with pytest.raises(MigrationError):
        world.back()


def test_the_way_back_after_writes(world: World):
    world.migrate()
    before = dict(world.held)
    world.upsert(a_document(6, "rewritten"), a_document(80))
    world.delete("d0010")
    with pytest.raises(MigrationError) as caught:
        world.back()
    assert "d0006" in caught.value.message
    assert "d0010" in caught.value.message
    assert isinstance(world.collection, Elsewhere)
    world.check()
    world.back(discard_writes=True)
    world.held = before
    world.check()
    world.reopen()
    world.check()


@pytest.mark.parametrize("step", ["after enter", "after remove_record"])
def test_killed_on_the_way_back(world: World, step: str):
    """The index stays, and what was begun is ended, or another move begun."""
    world.migrate()
    index = next(world.place.folder.iterdir())

    def fail(now: str) -> None:
        if now == step:
            raise Killed(now)

    world.place.fail = fail
    with pytest.raises(Killed):
        world.back()
    world.place.fail = lambda step: None
    world.reopen()
    assert is_remote(world.folder) == (step == "after enter")
    world.back()
    assert isinstance(world.collection, EmbeddedCollection)
    assert not isinstance(world.collection, Elsewhere)
    assert index.exists()
    world.check()
    with pytest.raises(MigrationError):
        world.back()


def test_a_move_after_a_way_back_that_broke_off(world: World):
    world.migrate()

    def fail(now: str) -> None:
        if now == "after remove_record":
            raise Killed(now)

    world.place.fail = fail
    with pytest.raises(Killed):
        world.back()
    world.place.fail = lambda step: None
    world.reopen()
    remove_tree(next(world.place.folder.iterdir()))  # as the operator does with an index
    world.migrate()
    assert isinstance(world.collection, Elsewhere)
    world.check()


@pytest.mark.parametrize("discard_writes", [False, True])
def test_writes_on_the_way_back(world: World, monkeypatch, discard_writes: bool):
    """One that comes while both are compared, one that waits for the exchange."""
    world.migrate()
    there, before = world.collection, dict(world.held)
    compare = moves._since_the_switch

    def and_write(*arguments):
        found = compare(*arguments)
        world.upsert(a_document(81, "between"))
        return found

    monkeypatch.setattr(moves, "_since_the_switch", and_write)
    if discard_writes:
        world.back(discard_writes=True)
        world.held = before
    else:
        with pytest.raises(MigrationError, match="while both were compared"):
            world.back()
    assert isinstance(world.collection, Elsewhere) == (not discard_writes)
    there.upsert([a_document(82, "later")])
    world.held["d0082"] = a_document(82, "later")
    world.check()


def test_writes_wait_for_the_exchange(world: World, monkeypatch):
    world.migrate()
    there, begun = world.collection, threading.Event()
    remove = moves.remove_record

    def write() -> None:
        begun.set()
        there.upsert([a_document(83, "waits")])

    writer = threading.Thread(target=write)

    def removing(folder: Path) -> None:
        writer.start()
        assert begun.wait(WAIT_SECONDS)
        remove(folder)

    monkeypatch.setattr(moves, "remove_record", removing)
    world.back()
    writer.join(WAIT_SECONDS)
    assert not writer.is_alive()
    world.held["d0083"] = a_document(83, "waits")
    world.check()


def test_the_way_back_finds_vectors_that_were_written(world: World):
    world.migrate()
    vector = [1.0] + [0.0] * 63
    for kept in (world.held[doc_id] for doc_id in sorted(world.held)[:12]):
        world.upsert(Document(kept.doc_id, kept.fields, kept.attributes, vector))
    with pytest.raises(MigrationError) as caught:
        world.back()
    assert all(doc_id in caught.value.message for doc_id in sorted(world.held)[:10])
    world.check()
