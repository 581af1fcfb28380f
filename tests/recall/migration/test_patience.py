"""A backend that is away while a collection moves: for a moment, and for long."""

from __future__ import annotations

import pytest
from elsewhere import READS
from migrating import World

from sidecar.errors import BackendUnavailableError


def test_a_backend_that_is_away_for_long_ends_it_and_it_goes_on(world: World, monkeypatch):
    monkeypatch.setattr("sidecar.recall.migration.follower.PATIENCE_SECONDS", 0.0)

    def fail(step: str) -> None:
        if step == "upsert":
            raise BackendUnavailableError("gone")

    world.place.fail = fail
    with pytest.raises(BackendUnavailableError):
        world.migrate()
    world.place.fail = lambda step: None
    world.check()
    world.migrate()
    world.check()


def test_a_backend_that_is_away_for_a_moment_is_waited_for(world: World):
    """Whatever it is asked for just then."""
    failed: set[str] = set()

    def fail(step: str) -> None:
        if step in ("upsert", *READS) and step not in failed:
            failed.add(step)
            raise BackendUnavailableError("gone", retry_seconds=0.0)

    world.place.fail = fail
    world.migrate()
    assert failed == {"upsert", *READS}
    world.check()
