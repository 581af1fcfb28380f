"""The catalog: all collections below one data folder, by name."""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
import weakref
from pathlib import Path
from typing import Self

from sidecar.config import Config
from sidecar.errors import CollectionExistsError, CollectionNotFoundError, SidecarError
from sidecar.models.base import BiEncoder
from sidecar.recall.collection import CREATING_PREFIX, Collection
from sidecar.recall.schemas import check_name
from sidecar.storage.files import FolderLock, remove_tree, storage_errors, sync_folder
from sidecar.types import Schema

COLLECTIONS_FOLDER = "collections"
DROPPED_PREFIX = ".dropped-"

_log = logging.getLogger(__name__)


class Catalog:
    """Opens every collection at once; a damaged one does not keep the others from serving."""

    def __init__(self, data_dir: Path, bi_encoder: BiEncoder | None, config: Config) -> None:
        """Use `open`."""
        self._folder = data_dir / COLLECTIONS_FOLDER
        self._bi_encoder = bi_encoder
        self._config = config
        self._changing = threading.Lock()
        self._collections: dict[str, Collection] = {}
        self._unopened: dict[str, SidecarError] = {}
        self._lock = FolderLock(data_dir)

    @classmethod
    def open(cls, data_dir: Path, bi_encoder: BiEncoder | None, config: Config) -> Self:
        """All collections of a data folder, which is made if it is missing.

        Raises StorageError if another process uses it or it cannot be written.
        """
        catalog = cls(data_dir, bi_encoder, config)
        try:
            with storage_errors(catalog._folder):
                catalog._folder.mkdir(parents=True, exist_ok=True)
                catalog._remove_leftovers()
            catalog._open_all()
        except BaseException:
            catalog.close()
            raise
        return catalog

    def create(self, name: str, schema: Schema) -> Collection:
        """A new, empty collection; durable once returned.

        Raises InvalidFieldError, CollectionExistsError, StorageError.
        """
        check_name(name)
        with self._changing:
            if name in self._collections or name in self._unopened:
                raise CollectionExistsError(name)
            collection = Collection.create(
                self._folder / name, name, schema, self._bi_encoder, self._config
            )
            self._collections[name] = collection
            return collection

    def get(self, name: str) -> Collection:
        """A collection. Raises CollectionNotFoundError, or what kept it from being opened."""
        collection = self._collections.get(name)
        if collection is not None:
            return collection
        if name in self._unopened:
            raise self._unopened[name]
        raise CollectionNotFoundError(name)

    def list(self) -> list[Collection]:
        """The collections that are open, by name."""
        return [collection for _, collection in sorted(self._collections.items())]

    def unopened(self) -> dict[str, SidecarError]:
        """The collections that could not be opened, by name, and why."""
        return dict(self._unopened)

    def drop(self, name: str) -> None:
        """Drops a collection for good. Its files go once the last search on it has ended.

        Raises CollectionNotFoundError, StorageError.
        """
        with self._changing:
            if name not in self._collections and name not in self._unopened:
                raise CollectionNotFoundError(name)
            aside = self._folder / (DROPPED_PREFIX + uuid.uuid4().hex)
            with storage_errors(self._folder):
                (self._folder / name).rename(aside)
                sync_folder(self._folder)
            self._unopened.pop(name, None)
            collection = self._collections.pop(name, None)
        if collection is None:
            remove_tree(aside)
            return
        collection.retire(aside)
        weakref.finalize(collection, remove_tree, aside)

    def close(self) -> None:
        """Closes every collection and gives the folder back. May be called twice."""
        with self._changing, contextlib.ExitStack() as closing:
            closing.callback(self._lock.release)
            for collection in self._collections.values():
                closing.callback(collection.close)
            self._collections = {}

    def _open_all(self) -> None:
        for folder in sorted(self._folder.iterdir()):
            if not folder.is_dir() or folder.name.startswith("."):
                continue
            try:
                self._collections[folder.name] = Collection.open(
                    folder, self._bi_encoder, self._config
                )
            except SidecarError as error:
                _log.error("collection %s cannot be opened: %s", folder.name, error)
                self._unopened[folder.name] = error

    def _remove_leftovers(self) -> None:
        """Collections whose creation was not acknowledged, and dropped ones."""
        for prefix in (CREATING_PREFIX, DROPPED_PREFIX):
            for folder in self._folder.glob(f"{prefix}*"):
                remove_tree(folder)
