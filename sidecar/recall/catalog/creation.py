"""A new collection in the catalog, kept here or by a backend."""

from __future__ import annotations

from sidecar.recall.backends import create_collection, undo
from sidecar.recall.catalog.generations import Generations
from sidecar.recall.catalog.kept import Kept
from sidecar.recall.collection import Collection
from sidecar.recall.schemas import check_name
from sidecar.types import Backend, Schema


def create(
    kept: Kept, generations: Generations, name: str, schema: Schema, backend: Backend | None
) -> Collection:
    """See Catalog."""
    check_name(name)
    with kept.changing:
        kept.check_free(name)
        folder = kept.folder / name
        collection = create_collection(
            folder, name, schema, backend, generations.leading, kept.config, kept.turns
        )
        try:
            kept.opened[name] = generations.given(collection)
        except BaseException:
            undo(folder, kept.config)
            raise
        return collection
