"""The catalog as a server has it: what it can do, and where each is done."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from sidecar.config import Config
from sidecar.errors import SidecarError
from sidecar.models.base import BiEncoder
from sidecar.recall.catalog import creation, dropping, opening, restoring
from sidecar.recall.catalog.generations import Generations
from sidecar.recall.catalog.kept import Kept
from sidecar.recall.catalog.moving import MovesUnderWay
from sidecar.recall.collection import Collection
from sidecar.recall.migration.moves import Moving
from sidecar.storage.backup import Restored
from sidecar.storage.progress import Progress, unheard
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Backend, Schema


class Catalog:
    """Opens every collection at once; a damaged one does not keep the others from serving."""

    def __init__(self, data_dir: Path, bi_encoder: BiEncoder | None, config: Config) -> None:
        """Use `open`."""
        self._kept = Kept(data_dir, config)
        self._generations = Generations(self._kept, bi_encoder)
        self._moves = MovesUnderWay(self._kept, self._generations)

    @classmethod
    def open(cls, data_dir: Path, bi_encoder: BiEncoder | None, config: Config) -> Self:
        """All collections of a data folder, which is made if it is missing.

        Raises StorageError if another process uses it or it cannot be written.
        """
        catalog = cls(data_dir, bi_encoder, config)
        try:
            opening.open_all(catalog._kept, catalog._generations)
        except BaseException:
            catalog.close()
            raise
        return catalog

    def create(self, name: str, schema: Schema, backend: Backend | None = None) -> Collection:
        """A new collection, kept here or by a backend; durable once returned. It is empty, unless
        it is of an index that exists.

        Raises InvalidFieldError, CollectionExistsError, StorageError, and of a backend
        BackendError, BackendUnavailableError.
        """
        return creation.create(self._kept, self._generations, name, schema, backend)

    def restore(self, backup: Path, name: str = "", progress: Progress = unheard) -> Restored:
        """A new collection made of a backup, by name of the one it was made of unless another is
        given; durable and served once returned, while its indexes are derived anew. Documents that
        have no vector of the leading bi-encoder get theirs in the background.

        Raises InvalidFieldError, CollectionExistsError, DamagedError, StorageError; then there is
        no such collection.
        """
        return restoring.restore(self._kept, self._generations, backup, name, progress)

    def get(self, name: str) -> Collection:
        """A collection. Raises CollectionNotFoundError, or what kept it from being opened."""
        return self._kept.get(name)

    def list(self) -> list[Collection]:
        """The collections that are open, by name."""
        return [*self._kept.by_name()]

    def unopened(self) -> dict[str, SidecarError]:
        """The collections that could not be opened, by name, and why."""
        return dict(self._kept.unopened)

    def drop(self, name: str) -> None:
        """Drops a collection for good. Its files go once the last search on it has ended.

        Raises CollectionNotFoundError, MigrationError while it is moved; StorageError, and then it
        is there as before.
        """
        dropping.drop(self._kept, self._generations, self._moves, name)

    def moving(self, name: str) -> AbstractContextManager[Moving]:
        """A collection that is moved, by one caller at a time. Raises CollectionNotFoundError,
        MigrationError, or what kept it from being opened."""
        return self._moves.moving(name)

    def close(self) -> None:
        """Closes every collection and gives the folder back. May be called twice."""
        self._kept.close()

    # Generations of vectors

    def add_generation(self, bi_encoder: BiEncoder) -> None:
        """See Generations.add."""
        self._generations.add(bi_encoder)

    def generations(self) -> set[BiEncoderIdentity]:
        """See Generations.identities."""
        return self._generations.identities()

    def generation_progress(self, identity: BiEncoderIdentity) -> tuple[int, int]:
        """See Generations.progress."""
        return self._generations.progress(identity)

    def generation_failure(self, identity: BiEncoderIdentity) -> str:
        """See Generations.failure."""
        return self._generations.failure(identity)

    def wait_generation(self, identity: BiEncoderIdentity, timeout_seconds: float | None) -> bool:
        """See Generations.wait."""
        return self._generations.wait(identity, timeout_seconds)

    def lead_with(self, bi_encoder: BiEncoder) -> None:
        """See Generations.lead_with."""
        self._generations.lead_with(bi_encoder)

    def drop_generation(self, identity: BiEncoderIdentity) -> None:
        """See Generations.drop."""
        self._generations.drop(identity)
