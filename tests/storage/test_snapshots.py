"""Snapshots: the old one or the new one, never a mixture, never a damaged one."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest

from sidecar.errors import StorageError
from sidecar.storage.snapshots import MANIFEST, read_snapshot, remove_snapshot, write_snapshot


def parts(content: bytes):
    return {
        "one": lambda file: file.write(content),
        "two": lambda file: None,
    }


def test_what_was_written_is_read(tmp_path: Path):
    folder = tmp_path / "dense"
    assert read_snapshot(folder) is None
    write_snapshot(folder, 3, parts(b"abc"), {"watermark": 3})
    snapshot = read_snapshot(folder)
    assert snapshot is not None
    assert snapshot.files["one"].read_bytes() == b"abc"
    assert snapshot.about == {"watermark": 3}


def test_a_new_snapshot_replaces_the_old_and_its_files(tmp_path: Path):
    for content in (b"first", b"second", b"third"):
        write_snapshot(tmp_path, 3, parts(content), {})
        snapshot = read_snapshot(tmp_path)
        assert snapshot is not None
        assert snapshot.files["one"].read_bytes() == content
        assert len(list(tmp_path.iterdir())) == 3


def test_a_removal_that_is_broken_off_leaves_no_damaged_one(tmp_path: Path, monkeypatch):
    folder = tmp_path / "dense"
    write_snapshot(folder, 1, parts(b"old"), {})

    def broken_off(path: Path):
        next(path.glob("one*")).unlink()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("sidecar.storage.files.shutil.rmtree", broken_off)
    with pytest.raises(StorageError, match="input/output error"):
        remove_snapshot(folder)
    monkeypatch.undo()
    assert read_snapshot(folder) is None
    for _ in range(2):
        remove_snapshot(folder)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", ["part", "manifest"])
def test_a_failure_midway_leaves_the_old_one(tmp_path: Path, monkeypatch, failing: str):
    write_snapshot(tmp_path, 1, parts(b"old"), {})

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    after = parts(b"new")
    if failing == "part":
        after["two"] = fail
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StorageError, match="disk is full"):
        write_snapshot(tmp_path, 2, after, {})
    monkeypatch.undo()
    snapshot = read_snapshot(tmp_path)
    assert snapshot is not None
    assert snapshot.files["one"].read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == [MANIFEST, "one-1-0", "two-1-0"]
    write_snapshot(tmp_path, 3, parts(b"new"), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == [MANIFEST, "one-3-0", "two-3-0"]


def test_tries_that_fail_take_no_room(tmp_path: Path):
    disk = tmp_path / "disk"

    def fill(file: BinaryIO) -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            file.write(b"x" * 4096)
            full.write(b"x")

    write_snapshot(disk, 1, parts(b"old"), {})
    before = sorted(disk.iterdir())
    for _ in range(3):
        with pytest.raises(StorageError, match="disk is full"):
            write_snapshot(disk, 2, {"one": fill}, {})
        assert sorted(disk.iterdir()) == before


def test_an_error_after_the_manifest_is_in_place_leaves_the_new_one(tmp_path: Path, monkeypatch):
    write_snapshot(tmp_path, 1, parts(b"old"), {})
    synced = []

    def fail_late(folder: Path) -> None:
        synced.append(folder)
        if len(synced) == 2:  # the first time it is the names of the parts
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("sidecar.storage.snapshots.sync_folder", fail_late)
    monkeypatch.setattr("sidecar.storage.files.sync_folder", fail_late)
    with pytest.raises(StorageError, match="input/output error"):
        write_snapshot(tmp_path, 2, parts(b"new"), {})
    snapshot = read_snapshot(tmp_path)
    assert snapshot is not None
    assert snapshot.files["one"].read_bytes() == b"new"


def test_every_flipped_byte_and_every_truncation_is_refused(tmp_path: Path):
    write_snapshot(tmp_path, 1, parts(b"0123456789" * 5), {"watermark": 12})
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for position in range(len(whole)):
            flipped = bytes([whole[position] ^ 4])
            path.write_bytes(whole[:position] + flipped + whole[position + 1 :])
            with pytest.raises(StorageError):
                read_snapshot(tmp_path)
        if whole:
            path.write_bytes(whole[:-1])
            with pytest.raises(StorageError):
                read_snapshot(tmp_path)
        path.write_bytes(whole)
    assert read_snapshot(tmp_path) is not None
    (tmp_path / "one-1-0").unlink()
    with pytest.raises(StorageError):
        read_snapshot(tmp_path)


def test_what_lasts_is_written_once(tmp_path: Path):
    written: list[bytes] = []

    def part(content: bytes):
        def write(file: BinaryIO) -> None:
            written.append(content)
            file.write(content)

        return write

    def snapshot(names: str, lasting: str) -> dict[str, bytes]:
        """Parts named by letters; those that do not last are of this moment."""
        parts = {name: part(name.encode() * 9) for name in names}
        write_snapshot(tmp_path, len(written), parts, {}, lasting)
        read = read_snapshot(tmp_path)
        assert read is not None
        return {name: path.read_bytes() for name, path in read.files.items()}

    whole = {name: name.encode() * 9 for name in "abc"}
    assert snapshot("abc", "ab") == whole
    assert snapshot("abc", "ab") == whole
    assert [content[:1] for content in written] == [b"a", b"b", b"c", b"c"]
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["a", "b", "c", "m"]
    (before,) = tmp_path.glob("a*")
    assert snapshot("a", "a") == {"a": b"a" * 9}
    assert sorted(tmp_path.iterdir()) == sorted([before, tmp_path / MANIFEST])
    # One that is not there as the manifest says is written again, whatever it was.
    before.write_bytes(b"a")
    assert snapshot("ab", "ab") == {"a": b"a" * 9, "b": b"b" * 9}
    before.unlink(missing_ok=True)
    for path in tmp_path.glob("a*"):
        path.unlink()
    assert snapshot("ab", "ab") == {"a": b"a" * 9, "b": b"b" * 9}
    (tmp_path / MANIFEST).write_bytes(b"nonsense")
    assert snapshot("ab", "ab") == {"a": b"a" * 9, "b": b"b" * 9}


def test_a_failure_keeps_what_lasts(tmp_path: Path):
    def fail(file: BinaryIO) -> None:
        raise OSError(28, "No space left on device")

    write_snapshot(tmp_path, 1, parts(b"old"), {}, ["one"])
    with pytest.raises(StorageError, match="disk is full"):
        write_snapshot(tmp_path, 2, {**parts(b"old"), "two": fail}, {}, ["one"])
    snapshot = read_snapshot(tmp_path)
    assert snapshot is not None
    assert snapshot.files["one"].read_bytes() == b"old"


def test_a_folder_that_was_moved_away_is_not_made_again(tmp_path: Path):
    with pytest.raises(StorageError):
        write_snapshot(tmp_path / "moved" / "dense", 1, parts(b"new"), {})
    assert list(tmp_path.iterdir()) == []
