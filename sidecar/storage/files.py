"""Files and folders: locks, and writes that are whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sidecar.errors import StorageError

_DIGEST_BLOCK_BYTES = 1 << 20
_CAUSES = {
    errno.ENOSPC: "the disk is full: free space or move the data",
    errno.EDQUOT: "the disk quota is used up: raise it or move the data",
    errno.EROFS: "the disk is read-only: remount it or move the data",
    errno.EACCES: "permission denied: let the sidecar's user read and write it",
    errno.EIO: "the disk reports an input/output error: check it",
}


def to_storage_error(path: Path, error: OSError) -> StorageError:
    """The error for a caller: which path, why, and what to do."""
    cause = _CAUSES.get(error.errno or 0, error.strerror or str(error))
    return StorageError(f"{path}: {cause}", path=str(path))


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raises every OSError of the block as StorageError."""
    try:
        yield
    except OSError as error:
        raise to_storage_error(path, error) from error


class FolderLock:
    """Exclusive use of a folder by one process, held until `release` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        """Takes the lock. Raises StorageError if somebody holds it."""
        self._path = folder / "lock"
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError as error:
            in_use = _in_use(folder, self._descriptor)
            self.release()
            raise in_use from error
        except OSError as error:
            self.release()
            raise to_storage_error(self._path, error) from error

    def release(self) -> None:
        """Gives the folder back. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextlib.contextmanager
def unused(folder: Path) -> Iterator[None]:
    """While nobody has the lock of a folder, and nobody gets it; writes nothing. Raises
    StorageError if somebody has it."""
    path = folder / "lock"
    with storage_errors(path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            descriptor = -1  # nobody ever had it
    try:
        if descriptor >= 0:
            _hold(folder, descriptor)
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _hold(folder: Path, descriptor: int) -> None:
    """Shared, so that several may look at a time."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _in_use(folder, descriptor) from error
    except OSError as error:
        raise to_storage_error(folder, error) from error


def _in_use(folder: Path, descriptor: int) -> StorageError:
    holder = os.read(descriptor, 32).decode(errors="replace").strip()
    return StorageError(
        f"{folder} is in use by another sidecar (process {holder or 'unknown'}): "
        "stop it, or give this one another folder",
        path=str(folder),
    )


def digest_of(*paths: Path) -> str:
    """sha256 hex digest of files, one after the other. Raises OSError."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(_DIGEST_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def sync_file(path: Path) -> None:
    """Returns once the content of a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Returns once the names in a folder are on the disk."""
    sync_file(folder)


def make_folders(folder: Path) -> None:
    """A folder with those above it, if they are missing; on the disk once returned. Raises
    OSError."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def check_room(folder: Path, wanted: int) -> None:
    """Raises StorageError if the disk of a folder has less than so many bytes free: found out by
    filling it, others on it would be in want."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise StorageError(
            f"{folder}: {wanted:,} bytes are needed, {free:,} are free: free space or take another "
            "disk",
            path=str(folder),
        )


def rename_durably(path: Path, to: Path) -> None:
    """Renames within a folder; on the disk once returned. Raises StorageError, and then the old
    name stands, unless the disk refuses that too."""
    with storage_errors(path):
        path.rename(to)
        try:
            sync_folder(path.parent)
        except OSError:
            to.rename(path)
            raise


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file so that, after a crash, it holds the old or the new content."""
    temporary = path.with_name(path.name + ".new")
    with storage_errors(path):
        try:
            temporary.write_bytes(content)
            sync_file(temporary)
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def set_aside(path: Path) -> Path | None:
    """Renames a damaged file or folder to NAME.damaged (replacing an older one) to be looked at."""
    if not path.exists():
        return None
    aside = path.with_name(path.name + ".damaged")
    with storage_errors(path):
        remove_tree(aside)
        path.rename(aside)
        sync_folder(path.parent)
    return aside


def remove_tree(path: Path) -> None:
    """Removes a file or a folder with all it holds; nothing if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def disk_bytes(folder: Path) -> int:
    """Bytes of all files below a folder. Files that vanish meanwhile count as nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
