"""How the folder of a new collection comes to be: under another name until all of it is there."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path

from sidecar.errors import CollectionExistsError
from sidecar.recall.schemas import check_name, check_schema
from sidecar.storage.documents import DocumentStore
from sidecar.storage.files import remove_tree, rename_durably, storage_errors, sync_folder
from sidecar.storage.headers import Header
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Schema

# Unfinished collections begin so; the names of others cannot.
CREATING_PREFIX = ".creating-"


def create_folder(
    folder: Path, name: str, schema: Schema, bi_encoder: BiEncoderIdentity | None
) -> None:
    """The folder of an empty collection, which does not exist yet; durable once returned.

    Raises InvalidFieldError, CollectionExistsError, StorageError.
    """
    check_name(name)
    check_schema(schema)
    if folder.exists():
        raise CollectionExistsError(name)
    unfinished = folder.with_name(CREATING_PREFIX + folder.name)
    with storage_errors(folder):
        remove_tree(unfinished)
        unfinished.mkdir(parents=True)
        header = Header(uuid.uuid4().hex, name, schema)
        DocumentStore.create(unfinished, header, bi_encoder).close()
        sync_folder(unfinished)
    rename_durably(unfinished, folder)


def undo_creation(folder: Path) -> None:
    """Removes a collection that was created and cannot be opened: nobody was told of it. What is
    not to be removed now goes at the next start."""
    unfinished = folder.with_name(CREATING_PREFIX + folder.name)
    with contextlib.suppress(OSError):
        remove_tree(unfinished)
        folder.rename(unfinished)
        remove_tree(unfinished)
