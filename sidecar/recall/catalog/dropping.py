"""A collection leaves the catalog for good: its name at once, its files with its last search."""

from __future__ import annotations

import uuid
import weakref
from pathlib import Path

from sidecar.errors import CollectionNotFoundError
from sidecar.recall.backends import KeptCollection
from sidecar.recall.catalog.generations import Generations
from sidecar.recall.catalog.kept import DROPPED_PREFIX, Kept
from sidecar.recall.catalog.moving import MovesUnderWay
from sidecar.recall.catalog.opening import open_one
from sidecar.recall.remote import is_remote
from sidecar.storage.files import remove_tree, rename_durably


def drop(kept: Kept, generations: Generations, moves: MovesUnderWay, name: str) -> None:
    """See Catalog."""
    with kept.changing:
        if not kept.knows(name):
            raise CollectionNotFoundError(name)
        moves.check_not_moving(name)
        aside = kept.folder / (DROPPED_PREFIX + uuid.uuid4().hex)
        collection = kept.opened.pop(name, None)
        try:
            if collection is not None:
                # First: what goes on by the folder's name would find the next one of that name.
                collection.retire()
            _put_aside(kept.folder / name, aside, collection)
        except BaseException:
            if collection is not None:
                if is_remote(kept.folder / name):  # else it closes by itself
                    kept.left.append(collection)
                open_one(kept, generations, name)
            raise
        kept.unopened.pop(name, None)
    if collection is None:
        remove_tree(aside)
    else:
        weakref.finalize(collection, remove_tree, aside)


def _put_aside(folder: Path, aside: Path, collection: KeptCollection | None) -> None:
    """Renames a folder first: one that cannot be renamed has lost nothing elsewhere."""
    rename_durably(folder, aside)
    if collection is not None:
        try:
            collection.moved(aside)
        except BaseException:
            rename_durably(aside, folder)
            raise
