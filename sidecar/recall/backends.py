"""Opens collections of either kind: in a folder of the server's own, or kept by another server.

What is in the folder of a collection says which it is: a database, or where the other server is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from sidecar.config import BackendConfig, Config
from sidecar.errors import (
    CollectionExistsError,
    ConfigurationError,
    DamagedError,
    InvalidFieldError,
    SidecarError,
    UnsupportedError,
)
from sidecar.models.base import BiEncoder
from sidecar.recall.attributes import nearest
from sidecar.recall.collection import Collection
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.embedded.creation import CREATING_PREFIX, undo_creation
from sidecar.recall.embedded.encoding_turns import Turns
from sidecar.recall.encoding import identity_of
from sidecar.recall.remote import (
    RemoteRecord,
    is_remote,
    new_record,
    read_record,
    write_record,
)
from sidecar.recall.schemas import check_name, check_schema
from sidecar.storage.files import remove_tree, rename_durably, storage_errors, sync_folder
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Backend, Schema

# Imported when one is used: their clients are extras.
_KINDS = {
    "opensearch": ("sidecar.recall.opensearch.collection", "OpenSearchCollection"),
    "milvus": ("sidecar.recall.milvus.collection", "MilvusCollection"),
}


class KeptCollection(Collection, Protocol):
    """What the catalog asks of those that it keeps, beside what a collection is."""

    def generation_refusal(self, identity: BiEncoderIdentity) -> str:
        """Why it cannot have a generation of a bi-encoder; empty if it can."""

    def add_generation(self, bi_encoder: BiEncoder) -> None:
        """Starts, or goes on with, one beside the leading one. Raises StorageError."""

    def generations(self) -> list[BiEncoderIdentity]:
        """Those that it has."""

    def generation_progress(self, identity: BiEncoderIdentity) -> tuple[int, int]:
        """Documents that have a vector of it, and all documents."""

    def generation_failure(self, identity: BiEncoderIdentity) -> str:
        """Why the last attempt to encode for it failed; empty if it did not."""

    def wait_generation(self, identity: BiEncoderIdentity, timeout_seconds: float | None) -> bool:
        """Whether it can be searched, after waiting at most so long (None: as needed)."""

    def wait_up_to_date(self, identity: BiEncoderIdentity, timeout_seconds: float) -> bool:
        """Whether it finds all that is written, likewise."""

    def lead_with(self, identity: BiEncoderIdentity) -> None:
        """Makes one that can be searched the leading one. Raises StorageError."""

    def drop_generation(self, identity: BiEncoderIdentity) -> None:
        """Removes one that does not lead. Raises StorageError."""

    def leads_with(self, identity: BiEncoderIdentity) -> bool:
        """Whether it leads."""

    def retire(self) -> None:
        """Before it is dropped: writes end."""

    def moved(self, folder: Path) -> None:
        """Its folder was renamed to be dropped; what is elsewhere is dropped. Raises what keeps it
        from that; then it is not dropped."""


class RemoteKind(Protocol):
    """A kind of collection that another server keeps."""

    def prepare(self, record: RemoteRecord, config: BackendConfig) -> RemoteRecord:
        """Makes the index of a new collection, or looks at the one that exists.

        Returns the record that is to be kept of it. Raises InvalidFieldError ("backend.index"),
        BackendError, BackendUnavailableError.
        """

    def discard(self, record: RemoteRecord, config: BackendConfig) -> None:
        """Takes back what `prepare` made. Raises BackendError, BackendUnavailableError."""

    def open(
        self, record: RemoteRecord, config: BackendConfig, bi_encoder: BiEncoder | None
    ) -> KeptCollection:
        """The collection, also while its backend is down."""


def open_collection(
    folder: Path, bi_encoder: BiEncoder | None, config: Config, turns: Turns
) -> KeptCollection:
    """The collection of a folder. Raises StorageError, ConfigurationError."""
    if not is_remote(folder):
        return EmbeddedCollection.open(folder, bi_encoder, config, turns)
    return open_remote(read_record(folder), bi_encoder, config)


def open_remote(
    record: RemoteRecord, bi_encoder: BiEncoder | None, config: Config
) -> KeptCollection:
    """The collection of a record. Raises ConfigurationError."""
    settings = _settings_of(record, config)
    return _kind(settings).open(record, settings, bi_encoder)


def prepared_remote(
    folder: Path, record: RemoteRecord, config: Config
) -> contextlib.AbstractContextManager[RemoteRecord]:
    """The index of a collection that comes to be in a folder: the block keeps the record of it,
    and if that fails the index is discarded. See RemoteKind.prepare; raises StorageError, too."""
    _check_backend(record.backend.name, config)
    settings = config.backends[record.backend.name]
    return _prepared(folder, record, _kind(settings), settings)


def discard_remote(record: RemoteRecord, config: Config) -> None:
    """See RemoteKind.discard. Raises ConfigurationError."""
    settings = _settings_of(record, config)
    _kind(settings).discard(record, settings)


def _settings_of(record: RemoteRecord, config: Config) -> BackendConfig:
    name = record.backend.name
    if name not in config.backends:
        raise ConfigurationError(
            f"collection {record.name!r} is kept by backend {name!r}: configure [backends.{name}]"
        )
    return config.backends[name]


def _check_backend(name: str, config: Config) -> None:
    if name not in config.backends:
        raise InvalidFieldError(
            "backend.name",
            f"{name[:80]!r} is not configured as [backends.NAME]: "
            + nearest(name, config.backends),
        )


def create_collection(
    folder: Path,
    name: str,
    schema: Schema,
    backend: Backend | None,
    bi_encoder: BiEncoder | None,
    config: Config,
    turns: Turns,
) -> KeptCollection:
    """A new collection in a folder that does not exist; durable once returned.

    Raises InvalidFieldError, CollectionExistsError, StorageError, and of a backend BackendError,
    BackendUnavailableError.
    """
    if backend is None:
        return EmbeddedCollection.create(folder, name, schema, bi_encoder, config, turns)
    check_name(name)
    check_schema(schema)
    _check_backend(backend.name, config)
    settings = config.backends[backend.name]
    identity = identity_of(bi_encoder) if bi_encoder is not None else None
    kind, record = _kind(settings), new_record(name, schema, backend, identity)
    _create_folder(folder, record, kind, settings)
    try:
        return open_collection(folder, bi_encoder, config, turns)
    except BaseException:
        undo(folder, config)
        raise


def undo(folder: Path, config: Config) -> None:
    """Removes a collection that was created and cannot be opened, and its index: nobody was told of
    it. While its backend does not answer, what says which index it is stays for another try."""
    try:
        if is_remote(folder):
            discard_remote(read_record(folder), config)
    except SidecarError:
        with contextlib.suppress(OSError):
            folder.rename(_unfinished(folder))
        return
    undo_creation(folder)


def _create_folder(
    folder: Path, record: RemoteRecord, kind: RemoteKind, settings: BackendConfig
) -> None:
    """Of a collection whose index is made now, or exists; under another name until all is there."""
    if folder.exists():
        raise CollectionExistsError(record.name)
    with _prepared(folder, record, kind, settings) as prepared:
        unfinished = _unfinished(folder)
        write_record(unfinished, prepared)
        rename_durably(unfinished, folder)


@contextlib.contextmanager
def _prepared(
    folder: Path, record: RemoteRecord, kind: RemoteKind, settings: BackendConfig
) -> Iterator[RemoteRecord]:
    """An index, for the block to keep its record; discarded if that fails."""
    unfinished = _unfinished(folder)
    record = kind.prepare(_begin(unfinished, record), settings)
    try:
        yield record
    except BaseException:
        with contextlib.suppress(SidecarError):
            kind.discard(record, settings)
        raise
    with storage_errors(unfinished):
        remove_tree(unfinished)


def _unfinished(folder: Path) -> Path:
    return folder.with_name(CREATING_PREFIX + folder.name)


def _begin(unfinished: Path, record: RemoteRecord) -> RemoteRecord:
    """Makes the folder in which the id is kept before the index is made: if that is broken off, the
    next try has the id again, and so knows an index of its own from one of others."""
    with contextlib.suppress(DamagedError):
        if is_remote(unfinished):
            begun = read_record(unfinished)
            record = dataclasses.replace(record, collection_id=begun.collection_id)
    with storage_errors(unfinished):
        if not is_remote(unfinished):
            remove_tree(unfinished)
            unfinished.mkdir(parents=True)
            sync_folder(unfinished.parent)
    write_record(unfinished, record)
    return record


def _kind(settings: BackendConfig) -> RemoteKind:
    module, name = _KINDS[settings.kind]
    try:
        kind: RemoteKind = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise UnsupportedError(
            f"backends of kind {settings.kind!r} cannot be used here: {error}: install "
            f"search-sidecar[{settings.kind}]"
        ) from error
    return kind
