"""Backups: collections as of one moment, each in a folder that is whole, or not there at all.

A backup is a folder COLLECTION-TIME below the folder of all backups: the files that the collection
wrote, and a manifest with what they are, their sizes and SHA-256, below a line with its own. It is
made under a name that begins with ".unfinished-", everything is synced, and then it is renamed. So
what a crash leaves is never taken for a backup; the next one removes it.

Nothing of a backup is used before its bytes were compared with the manifest (`unpack`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from sidecar.errors import BackupNotFoundError, BackupsOffError, DamagedError, StorageError
from sidecar.storage import rows
from sidecar.storage.documents import DocumentStore
from sidecar.storage.files import (
    FolderLock,
    check_room,
    make_folders,
    remove_tree,
    rename_durably,
    storage_errors,
    sync_file,
    sync_folder,
)
from sidecar.storage.progress import Progress

MANIFEST = "manifest.json"
FORMAT = 1
UNFINISHED_PREFIX = ".unfinished-"
# So often it is asked whether who waits for another backup still does.
WAIT_SECONDS = 0.5
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}-\d{8}T\d{6}\.\d{3}Z")
_CHUNK_BYTES = 1 << 20

# Writes a collection into an empty folder.
WriteCopy = Callable[[Path, Progress], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup as its manifest has it: every write up to `sequence` is in it, and none after."""

    name: str
    collection: str
    created: datetime
    sequence: int
    document_count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Restored:
    """A collection made of a backup; `rebuilt` is what is derived anew while it is served."""

    collection: str
    sequence: int
    document_count: int
    rebuilt: tuple[str, ...]


class Backups:
    """Those of one folder. Of all who use it, one makes a backup at a time."""

    def __init__(self, folder: str) -> None:
        """`folder` empty: there are none."""
        self._folder = Path(folder) if folder else None
        self._making = threading.Lock()

    def make(self, collection: str, write: WriteCopy, progress: Progress) -> Backup:
        """A backup of what `write` writes; durable once returned. Waits for the one under way.

        Raises StorageError, also where another process is making one, and what `write` raises.
        """
        folder = self._at_hand()
        with self._turn(progress), storage_errors(folder), self._alone(folder):
            for leftover in folder.glob(f"{UNFINISHED_PREFIX}*"):
                remove_tree(leftover)
            created, name = _free_name(folder, collection)
            unfinished = folder / (UNFINISHED_PREFIX + name)
            try:
                unfinished.mkdir()
                write(unfinished, progress)
                _write_manifest(unfinished, collection, created, progress)
                rename_durably(unfinished, folder / name)
            except BaseException:
                with contextlib.suppress(OSError):
                    remove_tree(unfinished)
                raise
            return read_backup(folder / name)

    def list(self, collection: str = "") -> list[Backup]:
        """Those of a collection, or all, the latest first. Damaged manifests are left out, with a
        word in the log. Raises StorageError."""
        folder = self._at_hand()
        with storage_errors(folder):
            found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
        backups = [backup for path in found if (backup := _read_or_none(path))]
        wanted = [each for each in backups if not collection or each.collection == collection]
        return sorted(wanted, key=lambda each: (each.created, each.name), reverse=True)

    def path(self, name: str) -> Path:
        """Where a backup is. Raises BackupNotFoundError."""
        path = self._at_hand() / name
        if not _NAME.fullmatch(name) or not path.is_dir():
            raise BackupNotFoundError(name)
        return path

    def _at_hand(self) -> Path:
        if self._folder is None:
            raise BackupsOffError("the server has no folder for backups: set backup.folder")
        with storage_errors(self._folder):
            make_folders(self._folder)
        return self._folder

    @contextlib.contextmanager
    def _turn(self, progress: Progress) -> Iterator[None]:
        while not self._making.acquire(timeout=WAIT_SECONDS):
            progress("waits for another backup", 0, 0)
        try:
            yield
        finally:
            self._making.release()

    @contextlib.contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        lock = FolderLock(folder)
        try:
            yield
        finally:
            lock.release()


def read_backup(path: Path) -> Backup:
    """What the manifest of a backup says. Raises DamagedError, StorageError."""
    return _to_backup(path, read_manifest(path))


def read_manifest(path: Path) -> Mapping[str, Any]:
    """The manifest of a backup's folder, checked against its first line.

    Raises DamagedError; StorageError if it cannot be read, or is of a newer format.
    """
    file = path / MANIFEST
    with storage_errors(file):
        try:
            content = file.read_bytes()
        except FileNotFoundError as error:
            raise DamagedError(f"{file}: missing: {path} is no backup", path=str(file)) from error
    signature, _, body = content.partition(b"\n")
    if signature != _signature(body):
        raise DamagedError(
            f"{file}: damaged: its first line is not the SHA-256 of the rest: take another backup",
            path=str(file),
        )
    manifest: dict[str, Any] = json.loads(body)
    if manifest["format"] > FORMAT:
        raise StorageError(
            f"{file}: format {manifest['format']} was written by a newer sidecar; this one reads "
            f"up to {FORMAT}: update it",
            path=str(file),
        )
    return manifest


def unpack(path: Path, target: Path, progress: Progress) -> Backup:
    """Copies the files of a backup into a new folder, synced, and compares what was copied with the
    manifest. Raises DamagedError naming the file, StorageError; what is in `target` then is for the
    caller to remove."""
    manifest = read_manifest(path)
    backup = _to_backup(path, manifest)
    with storage_errors(target):
        target.mkdir()
        check_room(target, backup.bytes)
        done = 0
        for name, entry in manifest["files"].items():
            _check_plain(path, name)
            _copy_checked(path / name, target / name, entry, _counting(progress, done, backup))
            done += entry["bytes"]
        sync_folder(target)
    return backup


def _counting(progress: Progress, before: int, backup: Backup) -> Callable[[int], None]:
    return lambda done: progress("checks and copies files", before + done, backup.bytes)


def _check_plain(path: Path, name: str) -> None:
    """It leads out of no folder."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise DamagedError(
            f"{path / MANIFEST}: {name!r} is no name of a file in a backup: take another backup",
            path=str(path / MANIFEST),
        )


def _copy_checked(
    source: Path, target: Path, entry: Mapping[str, Any], counted: Callable[[int], None]
) -> None:
    digest, done = hashlib.sha256(), 0
    with storage_errors(source):
        try:
            reading = source.open("rb")
        except FileNotFoundError as error:
            raise DamagedError(f"{source}: missing", path=str(source)) from error
    with reading, target.open("wb") as writing:
        while chunk := _read_chunk(reading, source):
            digest.update(chunk)
            writing.write(chunk)
            done += len(chunk)
            counted(done)
    if done != entry["bytes"] or digest.hexdigest() != entry["sha256"]:
        raise DamagedError(
            f"{source}: damaged: it is not what was written, {entry['bytes']} bytes with SHA-256 "
            f"{entry['sha256']}: take another backup",
            path=str(source),
        )
    sync_file(target)


def _read_chunk(reading: BinaryIO, source: Path) -> bytes:
    with storage_errors(source):  # what the disk of the backup reports, not that of the copy
        return reading.read(_CHUNK_BYTES)


def _write_manifest(folder: Path, collection: str, created: datetime, progress: Progress) -> None:
    """Of a folder that a collection was written into: all files in it are on the disk after it."""
    tree = {"format": FORMAT, "collection": collection, "created": created.isoformat()}
    tree |= _description(folder) | {"files": _files(folder, progress)}
    body = json.dumps(tree, indent=1).encode()
    (folder / MANIFEST).write_bytes(_signature(body) + b"\n" + body)
    sync_file(folder / MANIFEST)
    sync_folder(folder)


def _description(folder: Path) -> dict[str, Any]:
    """What the copy, not the collection that goes on, says of itself."""
    store = DocumentStore.open_read_only(folder)
    try:
        header, leading = store.header, store.leading
        return {
            "collection_id": header.collection_id,
            "schema": json.loads(rows.schema_to_json(header.schema)),
            "sequence": store.sequence,
            "document_count": store.count,
            "bi_encoders": [str(identity) for identity in store.generations],
            "leading": str(leading.bi_encoder) if leading else "",
        }
    finally:
        store.close()


def _files(folder: Path, progress: Progress) -> dict[str, Any]:
    paths = sorted(folder.iterdir())
    total, done, files = sum(path.stat().st_size for path in paths), 0, {}
    for path in paths:
        sync_file(path)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                done += len(chunk)
                progress("takes digests", done, total)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
    return files


def _to_backup(path: Path, manifest: Mapping[str, Any]) -> Backup:
    return Backup(
        path.name,
        manifest["collection"],
        datetime.fromisoformat(manifest["created"]),
        manifest["sequence"],
        manifest["document_count"],
        sum(entry["bytes"] for entry in manifest["files"].values()),
    )


def _read_or_none(path: Path) -> Backup | None:
    try:
        return read_backup(path)
    except StorageError as error:
        _log.warning("not listed: %s", error.message)
        return None


def _free_name(folder: Path, collection: str) -> tuple[datetime, str]:
    while True:
        now = datetime.now(UTC)
        created = now.replace(microsecond=now.microsecond // 1000 * 1000)
        name = f"{collection}-{created:%Y%m%dT%H%M%S}.{created.microsecond // 1000:03}Z"
        if not (folder / name).exists():
            return created, name


def _signature(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
