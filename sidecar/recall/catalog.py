"""The catalog: all collections below one data folder, by name."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from sidecar.config import Config
from sidecar.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    MigrationError,
    ModelChangeError,
    SidecarError,
    StorageError,
)
from sidecar.models.base import BiEncoder
from sidecar.recall.backends import (
    KeptCollection,
    create_collection,
    discard_remote,
    open_collection,
    undo,
)
from sidecar.recall.collection import Collection
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.embedded.creation import CREATING_PREFIX, undo_creation
from sidecar.recall.embedded.encoding_turns import Turns
from sidecar.recall.embedded.offline import Examined, examine
from sidecar.recall.embedded.restoring import adopt, unpacked
from sidecar.recall.encoding import identity_of
from sidecar.recall.migration.ledger import has_ledger
from sidecar.recall.migration.moves import Moving
from sidecar.recall.remote import is_remote, read_record
from sidecar.recall.schemas import check_name
from sidecar.storage.backup import Restored, read_backup
from sidecar.storage.files import (
    FolderLock,
    remove_tree,
    rename_durably,
    storage_errors,
    unused,
)
from sidecar.storage.progress import Progress, unheard
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Backend, Schema

COLLECTIONS_FOLDER = "collections"
# The names of collections cannot begin so.
DROPPED_PREFIX = ".dropped-"
# So that, in each collection, writes wait for a moment only.
LEAD_WAIT_SECONDS = 10.0

_log = logging.getLogger(__name__)


def restore_offline(
    data_dir: Path, backup: Path, name: str = "", progress: Progress = unheard
) -> Restored:
    """As `Catalog.restore`, into a data folder that no server uses, which is made if it is missing.
    What is to be derived anew is so once a server is started."""
    name = name or read_backup(backup).collection
    check_name(name, "collection")
    collections = data_dir / COLLECTIONS_FOLDER
    lock = FolderLock(data_dir)
    try:
        with storage_errors(collections):
            collections.mkdir(parents=True, exist_ok=True)
            if (collections / name).exists():
                raise CollectionExistsError(name)
        with unpacked(backup, collections, progress) as (folder, made):
            rebuilt = adopt(folder, name, None)
            rename_durably(folder, collections / name)
    finally:
        lock.release()
    return Restored(name, made.sequence, made.document_count, rebuilt)


def verify_offline(
    data_dir: Path, config: Config, progress: Progress = unheard
) -> Iterator[Examined]:
    """What is wrong in a data folder that no server uses, collection by collection; nothing is
    changed. Raises StorageError if one uses it."""
    collections = data_dir / COLLECTIONS_FOLDER
    with unused(data_dir):
        with storage_errors(collections):
            folders = sorted(collections.iterdir()) if collections.is_dir() else []
        for folder in folders:
            if folder.name.startswith(CREATING_PREFIX) and is_remote(folder):
                coming = ["its creation at a backend was broken off: create it again"]
                yield Examined(folder.name, coming=coming)
            elif folder.name.startswith((CREATING_PREFIX, DROPPED_PREFIX)):
                yield Examined(folder.name, coming=["would be removed: it was never acknowledged"])
            elif folder.is_dir() and is_remote(folder):
                yield Examined(folder.name, coming=["is kept by a backend, which is not asked"])
            elif folder.is_dir():
                yield examine(folder, config.dense_index, progress)


class Catalog:
    """Opens every collection at once; a damaged one does not keep the others from serving."""

    def __init__(self, data_dir: Path, bi_encoder: BiEncoder | None, config: Config) -> None:
        """Use `open`."""
        self._folder = data_dir / COLLECTIONS_FOLDER
        self._bi_encoder = bi_encoder
        # Those whose generations are wanted beside the leading one.
        self._beside: dict[BiEncoderIdentity, BiEncoder] = {}
        self._config = config
        self._turns = Turns()
        self._changing = threading.Lock()
        self._closed = False
        self._collections: dict[str, KeptCollection] = {}
        self._unopened: dict[str, SidecarError] = {}
        # Those that are being moved, and what they were moved from.
        self._moving: set[str] = set()
        self._left: list[Collection] = []
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

    def create(self, name: str, schema: Schema, backend: Backend | None = None) -> Collection:
        """A new collection, kept here or by a backend; durable once returned. It is empty, unless
        it is of an index that exists.

        Raises InvalidFieldError, CollectionExistsError, StorageError, and of a backend
        BackendError, BackendUnavailableError.
        """
        check_name(name)
        with self._changing:
            if name in self._collections or name in self._unopened:
                raise CollectionExistsError(name)
            folder = self._folder / name
            collection = create_collection(
                folder, name, schema, backend, self._bi_encoder, self._config, self._turns
            )
            try:
                self._collections[name] = self._with_generations(collection)
            except BaseException:
                undo(folder, self._config)
                raise
            return collection

    def restore(self, backup: Path, name: str = "", progress: Progress = unheard) -> Restored:
        """A new collection made of a backup, by name of the one it was made of unless another is
        given; durable and served once returned, while its indexes are derived anew. Documents that
        have no vector of the leading bi-encoder get theirs in the background.

        Raises InvalidFieldError, CollectionExistsError, DamagedError, StorageError; then there is
        no such collection.
        """
        name = name or read_backup(backup).collection
        check_name(name, "collection")
        with self._changing:
            self._check_free(name)
        with unpacked(backup, self._folder, progress) as (folder, made), self._changing:
            self._check_free(name)
            progress("opens the collection", 0, 0)  # from here on it will be there
            leading = identity_of(self._bi_encoder) if self._bi_encoder is not None else None
            rebuilt = adopt(folder, name, leading)
            rename_durably(folder, self._folder / name)
            self._take_up(name)
        return Restored(name, made.sequence, made.document_count, rebuilt)

    def _check_free(self, name: str) -> None:
        if self._closed:
            raise StorageError(f"{self._folder}: is closed", path=str(self._folder))
        if name in self._collections or name in self._unopened:
            raise CollectionExistsError(name)

    def _take_up(self, name: str) -> None:
        """Opens what was restored; its indexes are not waited for."""
        folder = self._folder / name
        try:
            collection = self._open_here(folder)
            self._collections[name] = self._with_generations(collection)
        except BaseException:
            undo_creation(folder)
            raise

    def _open_here(self, folder: Path) -> EmbeddedCollection:
        return EmbeddedCollection.open(
            folder, self._bi_encoder, self._config, self._turns, catch_up_seconds=0.0
        )

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
        return [*self._by_name()]

    def unopened(self) -> dict[str, SidecarError]:
        """The collections that could not be opened, by name, and why."""
        return dict(self._unopened)

    def drop(self, name: str) -> None:
        """Drops a collection for good. Its files go once the last search on it has ended.

        Raises CollectionNotFoundError; StorageError, and then it is there as before.
        """
        with self._changing:
            if name not in self._collections and name not in self._unopened:
                raise CollectionNotFoundError(name)
            self._check_not_moving(name)
            aside = self._folder / (DROPPED_PREFIX + uuid.uuid4().hex)
            collection = self._collections.pop(name, None)
            try:
                if collection is not None:
                    # First: what goes on by the folder's name would find the next one of that name.
                    collection.retire()
                self._put_aside(self._folder / name, aside, collection)
            except BaseException:
                if collection is not None:
                    if is_remote(self._folder / name):  # else it closes by itself
                        self._left.append(collection)
                    self._open(name)
                raise
            self._unopened.pop(name, None)
        if collection is None:
            remove_tree(aside)
        else:
            weakref.finalize(collection, remove_tree, aside)

    def _put_aside(self, folder: Path, aside: Path, collection: KeptCollection | None) -> None:
        """Renames a folder first: one that cannot be renamed has lost nothing elsewhere."""
        rename_durably(folder, aside)
        if collection is not None:
            try:
                collection.moved(aside)
            except BaseException:
                rename_durably(aside, folder)
                raise

    # Generations of vectors

    def add_generation(self, bi_encoder: BiEncoder) -> None:
        """Gives every collection, and those created later, a generation of a bi-encoder beside the
        leading one: made in the background, kept up with writes, gone on with after a restart.

        The bi-encoder is used until `drop_generation` or `close` has returned; of a generation that
        is there already, the one it was added with. Raises ModelChangeError if a collection cannot
        have it, and then changes nothing; StorageError; then some collections may have it, and it
        can be called again.
        """
        with self._changing:
            identity = identity_of(bi_encoder)
            for collection in self._collections.values():
                if refusal := collection.generation_refusal(identity):
                    raise ModelChangeError(refusal)
            if self._bi_encoder is not None and identity == identity_of(self._bi_encoder):
                bi_encoder = self._bi_encoder
            else:
                bi_encoder = self._beside.setdefault(identity, bi_encoder)
            for collection in self._collections.values():
                collection.add_generation(bi_encoder)

    def generations(self) -> set[BiEncoderIdentity]:
        """The bi-encoders of which any collection has a generation, in use or at rest: one that
        nobody wants any more goes by `drop_generation`, its bi-encoder need not be at hand."""
        return {identity for collection in self._by_name() for identity in collection.generations()}

    def generation_progress(self, identity: BiEncoderIdentity) -> tuple[int, int]:
        """Documents that have a vector of a bi-encoder, and all documents."""
        progress = [collection.generation_progress(identity) for collection in self._by_name()]
        return sum(done for done, _ in progress), sum(total for _, total in progress)

    def generation_failure(self, identity: BiEncoderIdentity) -> str:
        """Why vectors of a bi-encoder cannot be made at present (it is tried again), and in which
        collection; empty if they can."""
        failures = {each.name: each.generation_failure(identity) for each in self._by_name()}
        return "; ".join(f"{name}: {failure}" for name, failure in failures.items() if failure)

    def wait_generation(self, identity: BiEncoderIdentity, timeout_seconds: float | None) -> bool:
        """Whether every collection can be searched by a bi-encoder, after waiting at most so long
        (None: as long as it takes, or until the catalog is closed)."""
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        for collection in self._by_name():
            left = None if end is None else max(0.0, end - time.monotonic())
            if not collection.wait_generation(identity, left) and self._has(collection):
                return False
        return not self._closed

    def lead_with(self, bi_encoder: BiEncoder) -> None:
        """Makes a bi-encoder that every collection can be searched by the leading one: documents
        get its vectors at once from now on. The one before stays beside it.

        Raises ModelChangeError if a collection is not that far, and then changes nothing;
        StorageError if one failed: those before it lead with it then, and all can be searched by
        either.
        """
        identity = identity_of(bi_encoder)
        for collection in self._by_name():
            if collection.wait_generation(identity, 0.0):
                collection.wait_up_to_date(identity, LEAD_WAIT_SECONDS)
        with self._changing:
            for collection in self._collections.values():
                if not collection.wait_generation(identity, 0.0):
                    if refusal := collection.generation_refusal(identity):
                        raise ModelChangeError(refusal)
                    done, total = collection.generation_progress(identity)
                    raise ModelChangeError(
                        f"collection {collection.name!r} has vectors of {identity} for {done} of "
                        f"{total} documents: wait until all have one"
                    )
            for collection in self._collections.values():
                collection.lead_with(identity)
            before, self._bi_encoder = self._bi_encoder, self._beside.pop(identity, bi_encoder)
            if before is not None and identity_of(before) != identity:
                self._beside[identity_of(before)] = before

    def drop_generation(self, identity: BiEncoderIdentity) -> None:
        """Removes the generation of a bi-encoder that does not lead, with its vectors and indexes.
        Once returned, the bi-encoder is not called any more.

        Raises ModelChangeError if it leads, StorageError; it can be called again then.
        """
        with self._changing:
            leading = self._bi_encoder
            if leading is not None and identity_of(leading) == identity:
                raise ModelChangeError(f"{identity} leads: let another bi-encoder lead first")
            for collection in self._collections.values():
                if collection.leads_with(identity):
                    raise ModelChangeError(
                        f"{identity} leads in collection {collection.name!r}: let another "
                        "bi-encoder lead first"
                    )
            self._beside.pop(identity, None)
            for collection in self._collections.values():
                collection.drop_generation(identity)

    # Migration

    @contextlib.contextmanager
    def moving(self, name: str) -> Iterator[Moving]:
        """A collection that is moved, by one caller at a time. Raises CollectionNotFoundError,
        MigrationError, or what kept it from being opened."""
        with self._changing:
            self.get(name)
            if name in self._moving:
                raise MigrationError(f"collection {name!r} is being moved: wait for the end of it")
            self._moving.add(name)
            collection = self._collections[name]
        folder = self._folder / name
        try:
            yield Moving(
                collection,
                folder,
                self._bi_encoder,
                self._config,
                self._exchanging,
                lambda: self._open_back(folder),
                self._generations_refusal,
            )
        finally:
            self._moving.discard(name)

    def _open_back(self, folder: Path) -> EmbeddedCollection:
        """With the generations that are wanted, while it can still fail for want of them."""
        collection = self._open_here(folder)
        with self._changing:
            self._with_generations(collection)
        return collection

    def _generations_refusal(self, collection: KeptCollection) -> str:
        """Why it cannot have those that are wanted beside the leading one; empty if it can."""
        refusals = map(collection.generation_refusal, tuple(self._beside))
        return next(filter(None, refusals), "")

    @contextlib.contextmanager
    def _exchanging(self, collection: KeptCollection) -> Iterator[Callable[[KeptCollection], None]]:
        """Makes a name stand for another collection; searches under way end on the one before."""
        with self._changing:
            if not self._has(collection):
                raise StorageError(f"collection {collection.name!r}: the catalog is closed")

            def exchange(successor: KeptCollection) -> None:
                self._collections[collection.name] = self._with_generations(successor)
                if collection.describe().backend is not None:  # else it closes by itself
                    self._left.append(collection)

            yield exchange

    def _check_not_moving(self, name: str) -> None:
        folder = self._folder / name
        if name in self._moving or (has_ledger(folder) and not is_remote(folder)):
            raise MigrationError(
                f"collection {name!r} is being moved to a backend: give that up first, else its "
                "copy stays there"
            )

    def close(self) -> None:
        """Closes every collection and gives the folder back. May be called twice."""
        with self._changing, contextlib.ExitStack() as closing:
            closing.callback(self._lock.release)
            for collection in (*self._left, *self._collections.values()):
                closing.callback(collection.close)
            self._collections, self._left = {}, []
            self._closed = True

    def _by_name(self) -> tuple[KeptCollection, ...]:
        return tuple(collection for _, collection in sorted(self._collections.items()))

    def _has(self, collection: KeptCollection) -> bool:
        return self._collections.get(collection.name) is collection

    def _open_all(self) -> None:
        for folder in sorted(self._folder.iterdir()):
            if folder.is_dir() and not folder.name.startswith("."):
                self._open(folder.name)

    def _open(self, name: str) -> None:
        """One of either kind, open or not; whatever is wrong with it, the others are served."""
        folder = self._folder / name
        try:
            self._collections[name] = self._with_generations(
                open_collection(folder, self._bi_encoder, self._config, self._turns)
            )
            if has_ledger(folder) and not is_remote(folder):
                _log.warning(
                    "collection %s: its migration goes on when it is asked for again", name
                )
        except SidecarError as error:
            _log.error("collection %s cannot be opened: %s", name, error)
            self._unopened[name] = error
        except Exception as error:
            _log.exception("collection %s cannot be opened", name)
            self._unopened[name] = StorageError(
                f"{folder}: cannot be opened: {error!r}: see the server's log", path=str(folder)
            )

    def _with_generations(self, collection: KeptCollection) -> KeptCollection:
        """With those that are wanted beside the leading one. Raises StorageError; it is closed
        then."""
        try:
            for bi_encoder in self._beside.values():
                collection.add_generation(bi_encoder)
        except BaseException:
            collection.close()
            raise
        return collection

    def _remove_leftovers(self) -> None:
        """Collections whose creation was not acknowledged, and dropped ones. What says which index
        a backend may have of one stays: the next creation of that name takes it up, and a drop is
        gone on with at the next start if the backend does not answer now."""
        for folder in self._folder.glob(f"{CREATING_PREFIX}*"):
            if not is_remote(folder):
                remove_tree(folder)
        for folder in self._folder.glob(f"{DROPPED_PREFIX}*"):
            try:
                if is_remote(folder):
                    discard_remote(read_record(folder), self._config)
            except SidecarError as error:
                _log.warning("what a dropped collection has elsewhere is left there: %s", error)
            else:
                remove_tree(folder)
