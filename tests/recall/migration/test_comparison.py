"""A copy that differs from what it is of stops the switch."""

from __future__ import annotations

import pytest
from elsewhere import Elsewhere
from migrating import World
from recalling import a_document

from sidecar.errors import MigrationError
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.migration import migration
from sidecar.types import Document


@pytest.mark.parametrize("kind", ["text", "missing", "more", "vector", "attribute"])
def test_a_planted_difference_stops_the_switch(world: World, kind: str, monkeypatch):
    planted = a_document(7, f"word7 of0{'!' if kind == 'text' else ''}", year=1)
    wrong = {
        "text": lambda there: there.upsert([planted]),
        "attribute": lambda there: there.upsert([a_document(7, "word7 of0", year=2)]),
        "missing": lambda there: there.delete(["d0007"]),
        "more": lambda there: there.upsert([a_document(77)]),
        "vector": lambda there: there.upsert(
            [Document("d0000", {"title": "common", "text": "word0 of0"}, {"year": 0}, [1.0] * 64)]
        ),
    }[kind]
    compare = migration.Comparer.compare

    def after_planting(comparer):
        wrong(comparer._target)
        return compare(comparer)

    monkeypatch.setattr(migration.Comparer, "compare", after_planting)
    with pytest.raises(MigrationError) as caught:
        world.migrate()
    told = {"more": "38 documents, and 39 in the copy", "vector": "d0000"}.get(kind, "d0007")
    assert told in caught.value.message
    assert isinstance(world.collection, EmbeddedCollection)
    assert not isinstance(world.collection, Elsewhere)
    world.check()


def test_legs_that_answer_otherwise_stop_the_switch(world: World, monkeypatch):
    def cut(self, query, filter, depth, **more):
        return EmbeddedCollection.lexical(self, query, filter, min(depth, 3), **more)

    monkeypatch.setattr(Elsewhere, "lexical", cut)
    with pytest.raises(MigrationError) as caught:
        world.migrate()
    assert "lexical leg" in caught.value.message
    world.check()
