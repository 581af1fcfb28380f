"""How a backup becomes a collection: unpacked and compared with its digests, under a name that no
collection has -> made one of its own -> renamed.

Its indexes are not in a backup: they are derived from the documents again while it is served.
"""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Iterator
from pathlib import Path

from sidecar.recall.embedded.creation import CREATING_PREFIX
from sidecar.storage.backup import Backup, unpack
from sidecar.storage.database import Database
from sidecar.storage.documents import FILE_NAME, DocumentStore
from sidecar.storage.files import remove_tree, storage_errors, sync_folder
from sidecar.storage.headers import put_header
from sidecar.storage.progress import Progress
from sidecar.storage.stored_generations import BiEncoderIdentity


@contextlib.contextmanager
def unpacked(backup: Path, collections: Path, progress: Progress) -> Iterator[tuple[Path, Backup]]:
    """The content of a backup in a folder below that of all collections; what is not renamed by the
    end of the block is removed. Raises DamagedError, StorageError."""
    folder = collections / f"{CREATING_PREFIX}.{uuid.uuid4().hex}"
    try:
        yield folder, unpack(backup, folder, progress)
    finally:
        with contextlib.suppress(OSError):
            remove_tree(folder)


def adopt(folder: Path, name: str, bi_encoder: BiEncoderIdentity | None) -> tuple[str, ...]:
    """Makes what was unpacked a collection of that name, another one than that it was made of: no
    index, cursor or sequence number of the one is taken for one of the other.

    `bi_encoder` leads in it, with vectors to be made where the backup has none of it (None: nobody
    knows yet which one will). Returns what is to be derived anew, in words. Raises StorageError.
    """
    store = DocumentStore.open(folder)
    header = dataclasses.replace(store.header, collection_id=uuid.uuid4().hex, name=name)
    try:
        rebuilt = ["the lexical index"]
        if bi_encoder is not None:
            if bi_encoder not in store.generations:
                rebuilt.append(f"the vectors of {bi_encoder}")
                store.add_generation(bi_encoder)
            store.lead(bi_encoder)
        rebuilt += [f"the dense index of {identity}" for identity in store.generations]
    finally:
        store.close()
    database = Database(folder / FILE_NAME)
    try:
        with database.writing() as connection:
            put_header(connection, header)
    finally:
        database.close()
    with storage_errors(folder):
        sync_folder(folder)
    return tuple(rebuilt)
