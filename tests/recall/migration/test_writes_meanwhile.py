"""Writes while a collection moves: none fails, none is lost, none waits for long."""

from __future__ import annotations

import itertools
import threading

from elsewhere import Elsewhere
from migrating import World
from recalling import WAIT_SECONDS, a_document

from sidecar.recall.migration import migration


def test_under_writes_none_fails_and_none_is_lost(world: World):
    failures: list[Exception] = []
    done = threading.Event()

    def write(number: int) -> None:
        for turn in itertools.count():
            if done.is_set():
                return
            try:
                doc_id = 1000 + 10 * number + turn % 5
                world.upsert(a_document(doc_id, f"turn{turn}"), a_document(number, f"own{turn}"))
                if turn % 3 == 0:
                    world.delete(f"d{doc_id:04}")
            except Exception as error:
                failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    try:
        world.migrate()
        moved = len(world.held)
    finally:
        done.set()
        for writer in writers:
            writer.join()
    assert not failures
    assert moved
    world.check()


def test_writes_go_on_when_the_rest_cannot_be_copied_in_time(world: World, monkeypatch):
    """The backend is silent just while writes are held; they wait no longer than that."""
    monkeypatch.setattr(migration, "HOLD_SECONDS", 0.2)
    silent, attempts = threading.Event(), 0
    drain = migration.Migration._drain

    def slow(self, comparison):
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            assert silent.wait(WAIT_SECONDS)
        return drain(self, comparison)

    monkeypatch.setattr(migration.Migration, "_drain", slow)
    moving = threading.Thread(target=world.migrate)
    moving.start()
    while attempts == 0:
        assert moving.is_alive()
        world.upsert(a_document(50))
    world.upsert(a_document(51))  # returns although the backend does not
    silent.set()
    moving.join()
    assert attempts > 1
    assert isinstance(world.collection, Elsewhere)
    world.check()
