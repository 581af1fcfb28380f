"""How the collections of a data folder come to be open: at a start, and one by one."""

from __future__ import annotations

import logging
from pathlib import Path

from sidecar.config import Config
from sidecar.errors import SidecarError, StorageError
from sidecar.recall.backends import discard_remote, open_collection
from sidecar.recall.catalog.generations import Generations
from sidecar.recall.catalog.kept import DROPPED_PREFIX, Kept
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.embedded.creation import CREATING_PREFIX
from sidecar.recall.migration.ledger import has_ledger
from sidecar.recall.remote import is_remote, read_record
from sidecar.storage.files import remove_tree, storage_errors

_log = logging.getLogger(__name__)


def open_all(kept: Kept, generations: Generations) -> None:
    """All collections of the data folder, which is made if it is missing; what a crash left of
    others is removed. Raises StorageError if the folder cannot be read or written."""
    with storage_errors(kept.folder):
        kept.folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(kept.folder, kept.config)
    for folder in sorted(kept.folder.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            open_one(kept, generations, folder.name)


def open_one(kept: Kept, generations: Generations, name: str) -> None:
    """One of either kind, open or not; whatever is wrong with it, the others are served."""
    folder = kept.folder / name
    try:
        collection = open_collection(folder, generations.leading, kept.config, kept.turns)
        kept.opened[name] = generations.given(collection)
        if has_ledger(folder) and not is_remote(folder):
            _log.warning("collection %s: its migration goes on when it is asked for again", name)
    except SidecarError as error:
        _log.error("collection %s cannot be opened: %s", name, error)
        kept.unopened[name] = error
    except Exception as error:
        _log.exception("collection %s cannot be opened", name)
        kept.unopened[name] = StorageError(
            f"{folder}: cannot be opened: {error!r}: see the server's log", path=str(folder)
        )


def open_here(kept: Kept, generations: Generations, folder: Path) -> EmbeddedCollection:
    """What a folder itself has, wherever else the collection may be kept; its indexes are not
    waited for. Raises StorageError."""
    return EmbeddedCollection.open(
        folder, generations.leading, kept.config, kept.turns, catch_up_seconds=0.0
    )


def _remove_leftovers(collections: Path, config: Config) -> None:
    """Collections whose creation was not acknowledged, and dropped ones. What says which index a
    backend may have of one stays: the next creation of that name takes it up, and a drop is gone
    on with at the next start if the backend does not answer now."""
    for folder in collections.glob(f"{CREATING_PREFIX}*"):
        if not is_remote(folder):
            remove_tree(folder)
    for folder in collections.glob(f"{DROPPED_PREFIX}*"):
        try:
            if is_remote(folder):
                discard_remote(read_record(folder), config)
        except SidecarError as error:
            _log.warning("what a dropped collection has elsewhere is left there: %s", error)
        else:
            remove_tree(folder)
