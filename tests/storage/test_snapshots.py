"""Snapshots: the old one or the new one, never a mixture, never a damaged one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.errors import StorageError
from sidecar.storage.snapshots import MANIFEST, read_snapshot, write_snapshot


def parts(content: bytes):
    return {
        "one": lambda path: path.write_bytes(content),
        "two": lambda path: path.write_bytes(b""),
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
    write_snapshot(tmp_path, 3, parts(b"new"), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == [MANIFEST, "one-3-0", "two-3-0"]


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
