"""Damaged logs: what SQLite itself leaves out, and whether it is said."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import StorageError
from sidecar.storage import write_ahead_log
from sidecar.storage.write_ahead_log import cut, find_damage, log_of

WRITES = 6


@pytest.fixture(params=[512, 4096])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Closed as by a kill, with all writes in the log, each a transaction of some frames."""
    path = tmp_path / "live" / "d.sqlite"
    path.parent.mkdir()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size={request.param}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("CREATE TABLE t (n INTEGER, text TEXT)")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(WRITES):
        connection.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 600))
    killed = tmp_path / "killed" / "d.sqlite"
    killed.parent.mkdir()
    for each in path.parent.iterdir():
        if not each.name.endswith("-shm"):
            shutil.copy(each, killed.parent)
    connection.close()
    return killed


def rows_of(database: Path, scratch: Path) -> int:
    """What SQLite reads of it."""
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(database.parent, scratch)
    with sqlite3.connect(scratch / database.name) as connection:
        (count,) = connection.execute("SELECT count(*) FROM t").fetchone()
    connection.close()
    return int(count)


def frame_bytes_of(log: bytes) -> int:
    return 24 + int.from_bytes(log[8:12], "big")


def last_transaction(log: bytes) -> int:
    """Where its frames begin."""
    size = frame_bytes_of(log)
    starts = range(32, len(log) - size + 1, size)
    commits = [start for start in starts if int.from_bytes(log[start + 4 : start + 8], "big")]
    return commits[-2] + size


def test_a_whole_log_is_whole(database: Path, tmp_path: Path) -> None:
    assert find_damage(database) is None
    assert rows_of(database, tmp_path / "s") == WRITES
    assert find_damage(tmp_path / "none.sqlite") is None


def test_writes_that_are_lost_to_a_flipped_bit_are_said(database: Path, tmp_path: Path) -> None:
    """Of 64 bytes of each frame SQLite decides what is left; only of the last transaction nobody
    can tell a flipped bit from a crash."""
    log = log_of(database)
    whole = log.read_bytes()
    last, silent = last_transaction(whole), set()
    step = frame_bytes_of(whole) // 64 + 1  # each frame's header among them
    for place in [*range(8, 32), *range(32, len(whole), step)]:
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        log.write_bytes(bytes(flipped))
        lost = WRITES - rows_of(database, tmp_path / "s")
        found = find_damage(database)
        if found is None and lost:
            silent.add(place)
        assert lost or found is None
    assert {place for place in silent if place < last} <= {8, 9, 10, 11}  # the size of a page
    assert any(place >= last for place in silent)


def test_a_log_that_a_crash_cut_is_no_damage(database: Path) -> None:
    log = log_of(database)
    whole = log.read_bytes()
    for length in range(0, len(whole), 13):
        log.write_bytes(whole[:length])
        assert find_damage(database) is None


def test_frames_that_a_crash_left_out_of_order_are_no_damage(database: Path) -> None:
    """Its last transaction was not yet on the disk: any of its frames may be missing."""
    log = log_of(database)
    whole = bytearray(log.read_bytes())
    start = last_transaction(bytes(whole))
    whole[start : start + frame_bytes_of(bytes(whole))] = bytes(frame_bytes_of(bytes(whole)))
    log.write_bytes(bytes(whole))
    assert find_damage(database) is None


def test_what_an_earlier_log_left_behind_is_no_damage(database: Path) -> None:
    """SQLite begins anew at the start of the file, with other salts."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA wal_checkpoint(RESTART)")
    connection.execute("INSERT INTO t VALUES (100, 'y')")
    assert find_damage(database) is None
    connection.close()


def test_a_log_that_begins_anew_while_it_is_read_is_no_damage(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its old header has been read; new frames lie before old ones."""
    blocks, restarted = write_ahead_log._blocks, []

    def restarting(file: Any, frame_bytes: int) -> Iterator[Any]:
        if restarted:
            yield from blocks(file, frame_bytes)
            return
        restarted.append(sqlite3.connect(database, isolation_level=None))
        restarted[0].execute("PRAGMA wal_checkpoint(RESTART)")
        restarted[0].execute("INSERT INTO t VALUES (100, 'y')")
        with log_of(database).open("rb") as anew:  # nothing of it was read ahead
            anew.seek(32)
            yield from blocks(anew, frame_bytes)

    monkeypatch.setattr(write_ahead_log, "_blocks", restarting)
    assert find_damage(database) is None
    restarted[0].close()


def test_a_damaged_log_is_cut_where_the_user_says_so(database: Path, tmp_path: Path) -> None:
    log = log_of(database)
    whole = bytearray(log.read_bytes())
    whole[len(whole) // 2] ^= 1
    log.write_bytes(bytes(whole))
    left = rows_of(database, tmp_path / "s")
    found = find_damage(database)
    assert found is not None
    with pytest.raises(StorageError, match=r"damaged at frame \d+: \d+ acknowledged transactions"):
        raise found.to_error()
    assert found.transactions == WRITES - left - 1  # the damaged one is not readable itself
    kept = cut(found)
    assert kept.read_bytes() == bytes(whole)
    assert find_damage(database) is None
    assert rows_of(database, tmp_path / "s") == left
