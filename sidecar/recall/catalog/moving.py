"""What the catalog gives to a migration (migration/moves.py): that nobody else moves a collection,
and that its name comes to stand for another one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from sidecar.errors import MigrationError, StorageError
from sidecar.recall.backends import KeptCollection
from sidecar.recall.catalog.generations import Generations
from sidecar.recall.catalog.kept import Kept
from sidecar.recall.catalog.opening import open_here
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.migration.ledger import has_ledger
from sidecar.recall.migration.moves import Moving
from sidecar.recall.remote import is_remote


class MovesUnderWay:
    """Which collections are being moved."""

    def __init__(self, kept: Kept, generations: Generations) -> None:
        self._kept = kept
        self._generations = generations
        self._names: set[str] = set()

    @contextlib.contextmanager
    def moving(self, name: str) -> Iterator[Moving]:
        """See Catalog."""
        with self._kept.changing:
            collection = self._kept.get(name)
            if name in self._names:
                raise MigrationError(f"collection {name!r} is being moved: wait for the end of it")
            self._names.add(name)
        folder = self._kept.folder / name
        try:
            yield Moving(
                collection,
                folder,
                self._generations.leading,
                self._kept.config,
                self._exchanging,
                lambda: self._open_back(folder),
                self._generations.refusal,
            )
        finally:
            self._names.discard(name)

    def check_not_moving(self, name: str) -> None:
        """Raises MigrationError for a collection that is being moved, or was when that broke
        off."""
        folder = self._kept.folder / name
        if name in self._names or (has_ledger(folder) and not is_remote(folder)):
            raise MigrationError(
                f"collection {name!r} is being moved to a backend: give that up first, else its "
                "copy stays there"
            )

    def _open_back(self, folder: Path) -> EmbeddedCollection:
        """With the generations that are wanted, while it can still fail for want of them."""
        collection = open_here(self._kept, self._generations, folder)
        with self._kept.changing:
            self._generations.given(collection)
        return collection

    @contextlib.contextmanager
    def _exchanging(self, collection: KeptCollection) -> Iterator[Callable[[KeptCollection], None]]:
        """Makes a name stand for another collection; searches under way end on the one before."""
        with self._kept.changing:
            if not self._kept.has(collection):
                raise StorageError(f"collection {collection.name!r}: the catalog is closed")

            def exchange(successor: KeptCollection) -> None:
                self._kept.opened[collection.name] = self._generations.given(successor)
                if collection.describe().backend is not None:  # else it closes by itself
                    self._kept.left.append(collection)

            yield exchange
