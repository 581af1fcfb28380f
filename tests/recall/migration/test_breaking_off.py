"""A move that is broken off, wherever it was: nothing is missing, nothing twice, what was deleted
stays so.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from elsewhere import Elsewhere, Killed, counting
from migrating import NAME, World
from recalling import WAIT_SECONDS, a_document

from sidecar.errors import MigrationError
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.migration.ledger import Ledger
from sidecar.recall.remote import is_remote


def changes() -> Iterator[list]:
    """What happens between two tries: writes, deletions, ids that come back."""
    for turn in itertools.count():
        first = (turn * 5) % 40
        yield [
            ("upsert", [a_document(n, f"turn{turn} of{n % 7}") for n in range(first, first + 3)]),
            ("delete", [f"d{n:04}" for n in range(first + 2, first + 6)]),
            ("upsert", [a_document(first + 4, f"back{turn}"), a_document(100 + turn)]),
            ("delete", [f"d{99 + turn:04}"]),
        ]


def test_broken_off_between_every_two_steps(world: World):
    """Each try comes one step further; between tries writes come and the server starts anew."""
    made: set[str] = set()
    for number, change in zip(itertools.count(1), changes(), strict=False):
        world.place.fail, steps = counting(number)
        try:
            world.migrate()
            break
        except Killed:
            world.place.fail = lambda step: None
        finally:
            made |= set(steps)
        world.reopen()
        for name, of in change:
            getattr(world, name)(*of)
        if is_remote(world.folder):
            break
        assert isinstance(world.collection, EmbeddedCollection)
        assert number < 150, steps
    world.place.fail = lambda step: None
    assert isinstance(world.collection, Elsewhere)
    world.check()
    assert {"prepare", "before announce", "upserted", "deleted", "before write_or_withdraw"} <= made


@pytest.mark.parametrize(
    "step", ["before write_or_withdraw", "after write_or_withdraw", "after enter"]
)
def test_killed_around_the_switch(world: World, step: str):
    def fail(now: str) -> None:
        if now == step:
            raise Killed(now)

    world.place.fail = fail
    with pytest.raises(Killed):
        world.migrate()
    world.place.fail = lambda step: None
    world.reopen()
    world.upsert(a_document(70))
    assert is_remote(world.folder) == (step == "after write_or_withdraw")
    world.check()
    if step != "after write_or_withdraw":
        world.migrate()
    assert isinstance(world.collection, Elsewhere)
    world.check()


def test_deletions_that_nobody_remembers(world: World):
    """The follower was away, and what was deleted meanwhile was forgotten."""
    world.place.fail, _ = counting(20)
    with pytest.raises(Killed):
        world.migrate()
    world.place.fail = lambda step: None
    world.delete("d0000", "d0001", "d0002")
    world.upsert(a_document(1, "back"))
    assert world.collection.wait_searchable(world.collection.durable_sequence, WAIT_SECONDS)
    world.collection._store.prune(world.collection.durable_sequence)
    world.migrate()
    world.check()


def test_what_was_sent_is_looked_at_once_for_deletions_that_nobody_remembers(
    world: World, monkeypatch
):
    """Not with every chunk: it would be the square of what there is."""
    world.upsert(*(a_document(n) for n in range(200, 260)))
    world.delete("d0200")
    last = world.collection.durable_sequence
    assert world.collection.wait_searchable(last, WAIT_SECONDS)
    world.collection._store.prune(last)
    looks, sent = 0, Ledger.sent

    def counted(ledger: Ledger):
        nonlocal looks
        looks += 1
        return sent(ledger)

    monkeypatch.setattr(Ledger, "sent", counted)
    world.migrate()
    assert looks == 1
    world.check()


def test_a_migration_is_given_up(world: World):
    world.place.fail, _ = counting(8)
    with pytest.raises(Killed):
        world.migrate()
    world.place.fail = lambda step: None
    with pytest.raises(MigrationError):
        world.catalog.drop(NAME)
    with pytest.raises(MigrationError):
        world.finish()
    world.back()
    world.check()
    world.migrate()
    world.check()
    world.catalog.drop(NAME)
    assert not world.folder.exists()
