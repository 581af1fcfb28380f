"""What the server keeps of a collection that another server keeps: where it is, of which schema.

The file is all that there is in the collection's folder; the documents are in the backend alone.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from sidecar.errors import DamagedError
from sidecar.storage.files import storage_errors, sync_folder, write_whole
from sidecar.storage.rows import schema_from_json, schema_to_json
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Backend, FieldMapping, Schema

FORMAT = 1
RECORD = "backend.json"


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
    """The collection of the folder is kept there again; durable once returned."""
    with storage_errors(folder):
        (folder / RECORD).unlink(missing_ok=True)
        sync_folder(folder)


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
