"""Locks and whole writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.errors import StorageError
from sidecar.storage.files import FolderLock, disk_bytes, remove_tree, set_aside, write_whole

HOLDER = """
import sys
from pathlib import Path
from sidecar.storage.files import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_is_used_once(tmp_path: Path):
    lock = FolderLock(tmp_path / "new")
    with pytest.raises(StorageError, match="in use by another sidecar"):
        FolderLock(tmp_path / "new")
    lock.release()
    lock.release()
    FolderLock(tmp_path / "new").release()


def test_a_killed_process_gives_its_folder_back(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StorageError, match=f"process {holder.pid}"):
            FolderLock(tmp_path)
        holder.kill()
        holder.wait()
    FolderLock(tmp_path).release()


def test_write_whole_replaces(tmp_path: Path):
    path = tmp_path / "file"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"two")]


def test_write_whole_leaves_nothing_behind_where_it_fails(tmp_path: Path, monkeypatch):
    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sidecar.storage.files.sync_file", fail)
    with pytest.raises(StorageError, match="disk is full"):
        write_whole(tmp_path / "file", b"new")
    assert not list(tmp_path.iterdir())


def test_a_lock_that_the_disk_refuses_is_not_called_somebody_elses(tmp_path: Path, monkeypatch):
    def fail(descriptor: int, content: bytes, place: int) -> int:
        raise OSError(28, "No space left on device")

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(StorageError, match="lock: the disk is full"):
        FolderLock(tmp_path)
    monkeypatch.undo()
    assert set(os.listdir("/proc/self/fd")) == before
    FolderLock(tmp_path).release()


def test_set_aside_keeps_the_last_damaged_one(tmp_path: Path):
    assert set_aside(tmp_path / "index") is None
    for content in ("first", "second"):
        (tmp_path / "index").mkdir()
        (tmp_path / "index" / "file").write_text(content)
        assert set_aside(tmp_path / "index") == tmp_path / "index.damaged"
    assert (tmp_path / "index.damaged" / "file").read_text() == "second"
    assert disk_bytes(tmp_path) == len("second")
    remove_tree(tmp_path / "index.damaged")
    remove_tree(tmp_path / "index.damaged")
    assert list(tmp_path.iterdir()) == []
