"""A collection that is moved to a backend, and what of it was acknowledged."""

from __future__ import annotations

from pathlib import Path

from elsewhere import BACKEND, Place
from fakes import FakeBiEncoder
from recalling import SCHEMA, WAIT_SECONDS

from sidecar.recall.catalog import Catalog
from sidecar.recall.migration import moves
from sidecar.recall.migration.migration import Terms
from sidecar.types import Document

NAME = "things"


class World:
    """A data folder, what was acknowledged in it, and the catalog that is open."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.place = place
        self._folder = folder
        self.held: dict[str, Document] = {}
        self.catalog = Catalog.open(folder, FakeBiEncoder(), place.config)
        self.catalog.create(NAME, SCHEMA)

    @property
    def collection(self):
        return self.catalog.get(NAME)

    def upsert(self, *documents: Document) -> None:
        self.collection.upsert(documents)
        self.held |= {document.doc_id: document for document in documents}

    def delete(self, *doc_ids: str) -> None:
        self.collection.delete(doc_ids)
        for doc_id in doc_ids:
            self.held.pop(doc_id, None)

    def reopen(self) -> None:
        self.catalog.close()
        self.catalog = Catalog.open(self._folder, FakeBiEncoder(), self.place.config)

    def migrate(self):
        with self.catalog.moving(NAME) as moving:
            return moves.move(moving, BACKEND, Terms())

    def back(self, discard_writes: bool = False):
        with self.catalog.moving(NAME) as moving:
            return moves.move_back(moving, discard_writes)

    def finish(self):
        with self.catalog.moving(NAME) as moving:
            return moves.finish(moving)

    @property
    def folder(self) -> Path:
        return self._folder / "collections" / NAME

    def check(self) -> None:
        """All that is held is there and found by both legs, and nothing else."""
        collection = self.collection
        found = collection.get(sorted(self.held), include_vectors=True)
        assert {each.doc_id: dict(each.fields) for each in found} == {
            doc_id: dict(document.fields) for doc_id, document in self.held.items()
        }
        assert all(each.vector is not None for each in found)
        assert collection.wait_searchable(collection.durable_sequence, WAIT_SECONDS)
        assert collection.stats().document_count == len(self.held)
        vector = FakeBiEncoder().encode_queries(["common"])[0]
        for leg in (collection.lexical("common", None, 500), collection.dense(vector, None, 500)):
            ids = [recalled.doc_id for recalled in leg.recalled]
            assert sorted(ids) == sorted(self.held)
