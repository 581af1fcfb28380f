"""What the server keeps of a collection that another server keeps: where it is, of which schema.

The file is all that there is in the collection's folder; the documents are in the backend alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sidecar.errors import DamagedError, StorageError
from sidecar.storage.files import storage_errors, sync_folder, write_whole
from sidecar.storage.rows import schema_from_json, schema_to_json
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Backend, FieldMapping, Schema

FORMAT = 1
RECORD = "backend.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RemoteRecord:
    """One collection. `bi_encoder` is whose vectors it has; None: it has none."""

    collection_id: str
    name: str
    schema: Schema
    backend: Backend
    bi_encoder: BiEncoderIdentity | None


def new_record(
    name: str, schema: Schema, backend: Backend, bi_encoder: BiEncoderIdentity | None
) -> RemoteRecord:
    """Of a collection that is being created; an index without a name gets one."""
    if not backend.index:
        backend = dataclasses.replace(backend, index=f"sidecar-{name}")
    return RemoteRecord(uuid.uuid4().hex, name, schema, backend, bi_encoder)


def is_remote(folder: Path) -> bool:
    """Whether the collection of a folder is kept by another server."""
    with storage_errors(folder):
        return (folder / RECORD).exists()


def write_record(folder: Path, record: RemoteRecord) -> None:
    """Durable once returned. Raises StorageError."""
    with storage_errors(folder):
        write_whole(folder / RECORD, record_to_json(record).encode())


def write_or_withdraw(folder: Path, record: RemoteRecord) -> None:
    """As `write_record`; if the disk refuses to make sure of it, it is taken back and StorageError
    is raised. If it refuses that too, the record stands, for that is what is read from now on."""
    try:
        write_record(folder, record)
    except StorageError as error:
        if not is_remote(folder) or _is_done((folder / RECORD).unlink, folder):
            raise
        _log.error("%s: is not sure to outlast a crash, but stands: %s", folder / RECORD, error)


def record_to_json(record: RemoteRecord) -> str:
    """A record as it is kept."""
    tree = {
        "format": FORMAT,
        "collection_id": record.collection_id,
        "name": record.name,
        "schema": schema_to_json(record.schema),
        "backend": dataclasses.asdict(record.backend),
        "bi_encoder": dataclasses.astuple(record.bi_encoder) if record.bi_encoder else None,
    }
    return json.dumps(tree, indent=1)


def remove_record(folder: Path) -> None:
    """The collection of the folder is kept there again; durable once returned. Raises StorageError,
    and then the record is there as before; if the disk refuses that too, it stays removed."""
    path, aside = folder / RECORD, folder / (RECORD + ".removed")
    with storage_errors(folder):
        path.replace(aside)
        try:
            sync_folder(folder)
        except OSError as error:
            if _is_done(lambda: aside.rename(path), folder):
                raise
            _log.error("%s: is not sure to stay removed after a crash: %s", path, error)
    with contextlib.suppress(OSError):  # it is read by nobody
        aside.unlink()


def _is_done(change: Callable[[], object], folder: Path) -> bool:
    """Whether a folder could be changed; what is read of it is so then, whatever a crash leaves."""
    try:
        change()
    except OSError:
        return False
    with contextlib.suppress(OSError):
        sync_folder(folder)
    return True


def read_record(folder: Path) -> RemoteRecord:
    """Raises DamagedError, StorageError."""
    path = folder / RECORD
    with storage_errors(folder):
        text = path.read_bytes()
    return record_from_json(text, path)


def record_from_json(text: str | bytes, path: Path) -> RemoteRecord:
    """A record as it was kept in a file. Raises DamagedError."""
    try:
        tree = json.loads(text)
        if tree["format"] != FORMAT:
            raise DamagedError(f"{path}: format {tree['format']} is not known: update the sidecar")
        backend = tree["backend"]
        mapping = tuple(FieldMapping(**each) for each in backend.pop("mapping"))
        return RemoteRecord(
            tree["collection_id"],
            tree["name"],
            schema_from_json(tree["schema"]),
            Backend(**backend, mapping=mapping),
            BiEncoderIdentity(*tree["bi_encoder"]) if tree["bi_encoder"] else None,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(f"{path}: damaged: {error!r}") from error
