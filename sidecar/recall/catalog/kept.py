"""The collections of a data folder as they are kept in memory: open, or why not."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from sidecar.config import Config
from sidecar.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    SidecarError,
    StorageError,
)
from sidecar.recall.backends import KeptCollection
from sidecar.recall.collection import Collection
from sidecar.recall.embedded.encoding_turns import Turns
from sidecar.storage.files import FolderLock

COLLECTIONS_FOLDER = "collections"
# Dropped ones that have not gone begin so; the names of others cannot.
DROPPED_PREFIX = ".dropped-"


class Kept:
    """What the parts of the catalog share. Whoever changes any of it holds `changing`; `get` and
    `by_name` are asked at any time.

    `opened` and `unopened` have no name in common. `left` are those that something else was made of
    and that are open yet.
    """

    def __init__(self, data_dir: Path, config: Config) -> None:
        """Raises StorageError if another process uses the data folder."""
        self.folder = data_dir / COLLECTIONS_FOLDER
        self.config = config
        self.turns = Turns()
        self.changing = threading.Lock()
        self.opened: dict[str, KeptCollection] = {}
        self.unopened: dict[str, SidecarError] = {}
        self.left: list[Collection] = []
        self.is_closed = False
        self._lock = FolderLock(data_dir)

    def get(self, name: str) -> KeptCollection:
        """A collection. Raises CollectionNotFoundError, or what kept it from being opened."""
        collection = self.opened.get(name)
        if collection is not None:
            return collection
        if name in self.unopened:
            raise self.unopened[name]
        raise CollectionNotFoundError(name)

    def by_name(self) -> tuple[KeptCollection, ...]:
        """Those that are open, by name."""
        return tuple(collection for _, collection in sorted(self.opened.items()))

    def has(self, collection: KeptCollection) -> bool:
        """Whether its name still stands for it."""
        return self.opened.get(collection.name) is collection

    def knows(self, name: str) -> bool:
        """Whether there is a collection of that name, open or not."""
        return name in self.opened or name in self.unopened

    def check_free(self, name: str) -> None:
        """Raises CollectionExistsError."""
        if self.knows(name):
            raise CollectionExistsError(name)

    def check_not_closed(self) -> None:
        """Raises StorageError."""
        if self.is_closed:
            raise StorageError(f"{self.folder}: is closed", path=str(self.folder))

    def close(self) -> None:
        """Closes every collection and gives the folder back. May be called twice."""
        with self.changing, contextlib.ExitStack() as closing:
            closing.callback(self._lock.release)
            for collection in (*self.left, *self.opened.values()):
                closing.callback(collection.close)
            self.opened, self.left = {}, []
            self.is_closed = True
