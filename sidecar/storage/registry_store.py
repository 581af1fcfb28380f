"""Where a registry's files lie: in a folder of this machine, or at an address that fsspec knows.

Both keep two promises: a file is replaced whole, and a version is there with all its files or not
at all. A folder is also locked while it is changed; an address cannot be (see `RemoteStore`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import fsspec

from sidecar.errors import ConfigurationError, StorageError
from sidecar.storage.files import (
    remove_tree,
    storage_errors,
    sync_file,
    sync_folder,
    write_whole,
)

_UNFINISHED_PREFIX = ".unfinished-"
_LOCK_FILE = "lock"


class Store(Protocol):
    """Files below one root; paths are relative to it, with slashes. Methods block and raise
    StorageError; those that read raise FileNotFoundError for what is not there."""

    def folders(self, path: str) -> list[str]:
        """Names of the folders in a folder, none if it is not there."""

    def read(self, path: str) -> bytes:
        """The content of a file."""

    def write(self, path: str, content: bytes) -> None:
        """Makes or replaces a file: readers find the old or the new content."""

    def add(self, folder: Path, files: Sequence[str], path: str, last: Mapping[str, bytes]) -> None:
        """Copies files of a local folder to a new one, and writes the files in `last` after them:
        whoever finds those finds all."""

    def local(self, path: str, files: Sequence[str]) -> Path:
        """A folder of this machine that holds these files of a folder."""

    def forget(self, path: str, kept: Collection[str]) -> None:
        """Removes local copies of what is below a folder, but for the names in `kept`."""

    def locked(self, path: str) -> contextlib.AbstractContextManager[None]:
        """While a folder is changed by this process only, where that can be had."""


class FolderStore:
    """A folder that this machine sees: a disk of its own, or one that several mount."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folders(self, path: str) -> list[str]:
        """As Store."""
        folder = self._root / path
        with storage_errors(folder):
            if not folder.is_dir():
                return []
            return sorted(each.name for each in folder.iterdir() if _is_shown(each))

    def read(self, path: str) -> bytes:
        """As Store."""
        try:
            return (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(path) from None
        except OSError as error:
            raise StorageError(f"{self._root / path}: {error.strerror}") from error

    def write(self, path: str, content: bytes) -> None:
        """As Store."""
        target = self._root / path
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content)

    def add(self, folder: Path, files: Sequence[str], path: str, last: Mapping[str, bytes]) -> None:
        """As Store: the whole folder appears in one step."""
        target = self._root / path
        unfinished = target.parent / f"{_UNFINISHED_PREFIX}{uuid.uuid4().hex}"
        try:
            with storage_errors(target):
                for name in files:
                    _copy(folder / name, unfinished / name)
                for name, content in last.items():
                    (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
                    (unfinished / name).write_bytes(content)
                    sync_file(unfinished / name)
                sync_folder(unfinished)
                unfinished.rename(target)
                sync_folder(target.parent)
        finally:
            remove_tree(unfinished)

    def local(self, path: str, files: Sequence[str]) -> Path:
        """As Store: the folder itself."""
        return self._root / path

    def forget(self, path: str, kept: Collection[str]) -> None:
        """As Store: there are no copies."""

    @contextlib.contextmanager
    def locked(self, path: str) -> Iterator[None]:
        """As Store: waits for whoever changes it now, which takes him milliseconds."""
        lock = self._root / path / _LOCK_FILE
        with storage_errors(lock):
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class RemoteStore:
    """An address such as s3://bucket/models. Versions that are used are copied to this machine.

    Object stores have no lock: of two that move an alias in the same moment, the later wins.
    """

    def __init__(self, url: str, copies: Path) -> None:
        """Raises ConfigurationError for an address that cannot be used."""
        self._url = url
        self._copies = copies / hashlib.sha256(url.encode()).hexdigest()[:16]
        try:
            self._files, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise ConfigurationError(
                f"registry.url is {url!r}: {error}; s3:// needs s3fs (the extra [s3])"
            ) from error

    def folders(self, path: str) -> list[str]:
        """As Store."""
        with self._errors(path):
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._at(path), detail=True)
            except FileNotFoundError:
                return []
        names = (str(each["name"]) for each in found if each["type"] == "directory")
        return sorted(name.rstrip("/").rpartition("/")[2] for name in names)

    def read(self, path: str) -> bytes:
        """As Store."""
        with self._errors(path):
            self._files.invalidate_cache()
            return bytes(self._files.cat_file(self._at(path)))

    def write(self, path: str, content: bytes) -> None:
        """As Store: one object, which is put whole."""
        with self._errors(path):
            self._make_folder(path)
            self._files.pipe_file(self._at(path), content)

    def add(self, folder: Path, files: Sequence[str], path: str, last: Mapping[str, bytes]) -> None:
        """As Store: in order."""
        with self._errors(path):
            for name in files:
                self._make_folder(f"{path}/{name}")
                self._files.put_file(str(folder / name), self._at(f"{path}/{name}"))
        for name, content in last.items():
            self.write(f"{path}/{name}", content)

    def local(self, path: str, files: Sequence[str]) -> Path:
        """As Store: a copy, made anew if a file of it is missing."""
        target = self._copies / path
        if all((target / name).is_file() for name in files):
            return target
        unfinished = target.parent / f"{_UNFINISHED_PREFIX}{uuid.uuid4().hex}"
        try:
            with self._errors(path):
                for name in files:
                    (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
                    self._files.get_file(self._at(f"{path}/{name}"), str(unfinished / name))
            with storage_errors(target):
                remove_tree(target)
                unfinished.rename(target)
        finally:
            remove_tree(unfinished)
        return target

    def forget(self, path: str, kept: Collection[str]) -> None:
        """As Store."""
        folder = self._copies / path
        with storage_errors(folder):
            for copy in folder.iterdir() if folder.is_dir() else ():
                if copy.name not in kept:
                    remove_tree(copy)

    def locked(self, path: str) -> contextlib.AbstractContextManager[None]:
        """As Store: no lock can be had."""
        return contextlib.nullcontext()

    def _at(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"

    def _make_folder(self, path: str) -> None:
        """Where the address has folders; object stores have none."""
        self._files.makedirs(self._at(path).rpartition("/")[0], exist_ok=True)

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, StorageError):
            raise
        except Exception as error:  # each of fsspec's file systems has its own
            first_line = (str(error) or type(error).__name__).splitlines()[0]
            raise StorageError(f"{self._url}/{path}: {first_line}") from error


def open_store(url: str, copies: Path) -> Store:
    """The store of a folder or an address. Raises ConfigurationError."""
    if "://" not in url or url.startswith("file://"):
        return FolderStore(Path(url.removeprefix("file://")).expanduser())
    return RemoteStore(url, copies)


def _is_shown(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    sync_file(target)
