"""What can be done with the collections of a data folder that no server uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sidecar.config import Config, DenseIndexConfig
from sidecar.errors import CollectionExistsError
from sidecar.recall.catalog.kept import COLLECTIONS_FOLDER, DROPPED_PREFIX
from sidecar.recall.embedded.creation import CREATING_PREFIX
from sidecar.recall.embedded.offline import Examined, examine
from sidecar.recall.embedded.restoring import adopt, unpacked
from sidecar.recall.remote import is_remote
from sidecar.recall.schemas import check_name
from sidecar.storage.backup import Restored, read_backup
from sidecar.storage.files import FolderLock, rename_durably, storage_errors, unused
from sidecar.storage.progress import Progress, unheard


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
            if folder.name.startswith((CREATING_PREFIX, DROPPED_PREFIX)) or folder.is_dir():
                yield _examined(folder, config.dense_index, progress)


def _examined(folder: Path, config: DenseIndexConfig, progress: Progress) -> Examined:
    if folder.name.startswith(CREATING_PREFIX) and is_remote(folder):
        coming = "its creation at a backend was broken off: create it again"
    elif folder.name.startswith((CREATING_PREFIX, DROPPED_PREFIX)):
        coming = "would be removed: it was never acknowledged"
    elif is_remote(folder):
        coming = "is kept by a backend, which is not asked"
    else:
        return examine(folder, config, progress)
    return Examined(folder.name, coming=[coming])
