"""Snapshots: a state of a derived index on disk, complete and verified, or not there at all.

A snapshot is some files and a manifest that names them with their sizes and SHA-256, below a line
with its own SHA-256. Files get new names each time, unless their content stays and they are kept;
renaming the manifest into place makes them the snapshot, and only then are older files removed. So
a crash at any moment leaves the old snapshot or the new one. A try that fails takes its files
along: on a full disk they would hold what the next write of documents needs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sidecar.errors import DamagedError
from sidecar.storage.files import remove_tree, storage_errors, sync_folder, write_whole

MANIFEST = "manifest.json"
FORMAT = 1
_CHUNK_BYTES = 1 << 20

# Writes one file of a snapshot. What it calls must let the OSError of the file's write through.
WritePart = Callable[[BinaryIO], object]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An opened snapshot: its files by part, and what was said about it when it was written."""

    files: Mapping[str, Path]
    about: Mapping[str, Any]


def write_snapshot(
    folder: Path,
    sequence: int,
    parts: Mapping[str, WritePart],
    about: Mapping[str, Any],
    lasting: Collection[str] = (),
) -> None:
    """Makes the snapshot of `folder` out of parts, each a function that writes one file.

    The content of a `lasting` part never differs from what was written under its name before: where
    the older snapshot has it, its file is kept as it is.
    The folder is made if it is not there, those above it are not: they may have been renamed.
    Raises StorageError (full or read-only disk); the older snapshot then stands.
    """
    with storage_errors(folder):
        folder.mkdir(exist_ok=True)
        before = {path for path in folder.iterdir() if path.name != MANIFEST}
        kept = _kept(folder, [part for part in parts if part in lasting])
        fresh = {part: write for part, write in parts.items() if part not in kept}
        paths = {part: _free_path(folder, part, sequence) for part in fresh}
        manifest = b""
        try:
            files = {**kept, **{part: _written(paths[part], fresh[part]) for part in fresh}}
            sync_folder(folder)  # the names of the parts before the manifest that has them
            manifest = _manifest(files, about)
            write_whole(folder / MANIFEST, manifest)
        except BaseException:
            if not _stands(folder, manifest):
                _remove_quietly(paths.values())
            raise
        for path in before - {folder / str(entry["name"]) for entry in kept.values()}:
            path.unlink(missing_ok=True)


def _kept(folder: Path, parts: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """What the manifest in place has of some parts; those whose file is not there as it says are
    written again."""
    try:
        manifest = _read_manifest(folder / MANIFEST) if parts else None
    except DamagedError:
        return {}
    files = manifest["files"] if manifest else {}
    return {part: files[part] for part in parts if part in files and _is_there(folder, files[part])}


def _is_there(folder: Path, entry: Mapping[str, Any]) -> bool:
    try:
        return (folder / str(entry["name"])).stat().st_size == int(entry["bytes"])
    except FileNotFoundError:
        return False


def _written(path: Path, write: WritePart) -> dict[str, Any]:
    """A part on the disk, as the manifest has it."""
    with path.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest(path)}


def _manifest(files: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any]) -> bytes:
    tree = {"format": FORMAT, "files": files, "about": dict(about)}
    body = json.dumps(tree, indent=1).encode()
    return _body_digest(body) + b"\n" + body


def _stands(folder: Path, manifest: bytes) -> bool:
    """Whether it is in place, though an error came: what syncs the folder may fail after it."""
    try:
        return (folder / MANIFEST).read_bytes() == manifest
    except FileNotFoundError:
        return False
    except OSError:
        return True  # nobody can tell, so nothing is removed


def _remove_quietly(paths: Iterable[Path]) -> None:
    """What cannot be removed either is removed with the next snapshot."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def remove_snapshot(folder: Path) -> None:
    """Removes a snapshot with its folder, nothing if it is not there. The manifest goes first:
    broken off, it leaves files of no snapshot, and no damaged one.

    Raises StorageError; then it can be tried again.
    """
    with storage_errors(folder):
        try:
            (folder / MANIFEST).unlink(missing_ok=True)
            sync_folder(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        remove_tree(folder)
        sync_folder(folder.parent)


def read_snapshot(folder: Path) -> Snapshot | None:
    """The snapshot of a folder after checking every file; None if there is none.

    Raises DamagedError for a damaged one, or one written by a newer program; StorageError if it
    cannot be read now.
    """
    manifest = _read_manifest(folder / MANIFEST)
    if manifest is None:
        return None
    files = {part: _checked(folder, entry) for part, entry in manifest["files"].items()}
    return Snapshot(files, manifest["about"])


def _read_manifest(path: Path) -> Any:
    """None if there is none. Raises as read_snapshot."""
    with storage_errors(path):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
    signature, _, body = content.partition(b"\n")
    if signature != _body_digest(body):
        raise DamagedError(f"{path}: damaged: its first line is not the SHA-256 of the rest")
    manifest = json.loads(body)
    if manifest["format"] != FORMAT:
        raise DamagedError(f"{path}: format {manifest['format']}; known: {FORMAT}")
    return manifest


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()


def _body_digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _checked(folder: Path, entry: Mapping[str, Any]) -> Path:
    path = folder / str(entry["name"])
    with storage_errors(path):
        try:
            size = path.stat().st_size
        except FileNotFoundError as error:
            raise DamagedError(f"{path}: missing") from error
        if size != entry["bytes"]:
            raise DamagedError(f"{path}: damaged: {size} bytes, {entry['bytes']} were written")
        if digest(path) != entry["sha256"]:
            raise DamagedError(f"{path}: damaged: its SHA-256 is not the one it was written with")
    return path


def _free_path(folder: Path, part: str, sequence: int) -> Path:
    """A name not in use: a second snapshot at one sequence must not overwrite the first."""
    attempt = 0
    while (path := folder / f"{part}-{sequence}-{attempt}").exists():
        attempt += 1
    return path
