"""The key of tokens and of hashes of ids: as configured, or one kept beside the data."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from sidecar.errors import ConfigurationError, StorageError
from sidecar.storage.files import storage_errors, sync_folder

FILE_NAME = "secret"
LEAST_BYTES = 16


def read_secret(folder: Path, configured: str) -> bytes:
    """The configured key; if none is, the one in the folder, made at the first call.

    Raises ConfigurationError for a key that is too short, StorageError for a file that is damaged
    or that others may read.
    """
    if configured:
        if len(configured.encode()) < LEAST_BYTES:
            raise ConfigurationError(
                f"feedback.secret is too short: give at least {LEAST_BYTES} bytes, such as those "
                "of: openssl rand -hex 32"
            )
        return configured.encode()
    path = folder / FILE_NAME
    with storage_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        _check(path)
        return path.read_bytes().strip()


def _make(path: Path) -> None:
    """Whole, or not at all: linked into place, so that of two that start at once one wins."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(32).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    sync_folder(path.parent)


def _check(path: Path) -> None:
    found = path.stat()
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise StorageError(f"{path}: others may read it: chmod 600 it", path=str(path))
    if found.st_size < LEAST_BYTES:
        raise StorageError(
            f"{path}: too short to be a key: restore it from a backup, or remove it (tokens that "
            "were given out are then refused)",
            path=str(path),
        )
