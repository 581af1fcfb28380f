"""Whether SQLite will read all of a write-ahead log: it leaves out what follows a damaged frame.

At the first frame whose checksum is wrong SQLite ends, as after a crash in the middle of a write,
and says nothing. A crash does leave such a frame, of the last transaction, which nobody was told
of; with synchronous=FULL a transaction begins only once the one before it is on the disk. So
readable frames of a later transaction behind a damaged one are acknowledged writes that would be
lost.

A frame's checksum goes on from that of the frame before, which is stored there: each is checked by
itself, and by what the one before should have stored if that is what is damaged. (SQLite's Database
File Format, sections 4.1 to 4.3.)
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.errors import StorageError
from sidecar.storage.files import storage_errors, sync_file, sync_folder

_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
_MAGIC = 0x377F0682  # the lowest bit: checksums are of big-endian words
_FRAMES_AT_ONCE = 4096
Words = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Damage:
    """`frame`: the first that cannot be read, from 1; `transactions`: whole ones behind it;
    `readable_bytes`: of the log up to the last transaction before it."""

    log: Path
    frame: int
    transactions: int
    readable_bytes: int

    def to_error(self) -> StorageError:
        """For whoever opens the database."""
        return StorageError(
            f"{self.log}: damaged at frame {self.frame}: {self.transactions} acknowledged "
            "transactions from there on cannot be read. Restore a backup; or, to go on without "
            "them, run `sidecar verify --cut-damaged-logs`, which keeps a copy of the file",
            path=str(self.log),
        )


def log_of(database: Path) -> Path:
    """Where SQLite keeps the write-ahead log of a database."""
    return database.with_name(database.name + "-wal")


def find_damage(database: Path) -> Damage | None:
    """None for a log that is whole, is not there, or ends as a crash leaves it. Raises
    StorageError if it cannot be read."""
    log = log_of(database)
    with storage_errors(log):
        if not log.exists():
            return None
        with log.open("rb", buffering=0) as file:  # what is read again is read anew
            while len(header := file.read(_HEADER_BYTES)) == _HEADER_BYTES:
                found = _Scan(log, header).run(file)
                file.seek(0)
                # Another process may have begun the log anew while it was read.
                if found is None or file.read(_HEADER_BYTES) == header:
                    return found
                file.seek(0)
        return None


def cut(damage: Damage) -> Path:
    """Ends the log before what cannot be read; where the whole of it is kept. The writes that this
    gives up were acknowledged. Raises StorageError."""
    kept = damage.log.with_name(damage.log.name + ".damaged")
    with storage_errors(damage.log):
        shutil.copyfile(damage.log, kept)
        sync_file(kept)
        with damage.log.open("r+b") as file:
            file.truncate(damage.readable_bytes)
        sync_file(damage.log)
        sync_folder(damage.log.parent)
    return kept


class _Scan:
    """One pass over the frames."""

    def __init__(self, log: Path, header: bytes) -> None:
        words = np.frombuffer(header, ">u4")
        self._log = log
        self._order = ">u4" if int(words[0]) & 1 else "<u4"
        self._page_bytes = int(words[2])
        self._salts: npt.NDArray[Any] | None = words[4:6]
        start = np.zeros(2, np.uint32)
        sums = _checksums(start[None], self._in_order(header[:24])[None])[0]
        known = int(words[0]) | 1 == _MAGIC | 1
        self._header_is_good = known and bool((sums == words[6:8]).all())
        if not self._header_is_good:
            self._salts = None  # those of the first frame
        self._stored, self._sums = words[6:8].astype(np.uint32), sums  # of the frame before
        self._bad = 0 if self._header_is_good else 1  # the first bad frame, from 1
        self._ended = False  # the transaction of the bad frame has
        self._transactions = 0  # behind it
        self._readable = _HEADER_BYTES if self._header_is_good else 0

    def run(self, file: Any) -> Damage | None:
        """Reads the frames that follow the header."""
        frame_bytes = _FRAME_HEADER_BYTES + self._page_bytes
        if not 512 <= self._page_bytes <= 65536:
            return None  # not even the header was written
        number = 0
        for frames in _blocks(file, frame_bytes):
            readable, commits = self._read(frames)
            for good, commit in zip(readable.tolist(), commits.tolist(), strict=True):
                number += 1
                self._note(number, good, commit, frame_bytes)
        # The damaged one ended, and others came after it: it had been acknowledged.
        if not self._bad or not self._transactions:
            return None
        return Damage(self._log, self._bad, self._transactions, self._readable)

    def _note(self, number: int, good: bool, commit: bool, frame_bytes: int) -> None:
        if not self._bad:
            if not good:
                self._bad = number
            elif commit:
                self._readable = _HEADER_BYTES + number * frame_bytes
        if self._bad and commit and (good or number == self._bad):
            self._transactions += self._ended
            self._ended = True

    def _read(self, frames: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """(frames,) each: whether it can be read, by what the frame before says; whether it ends
        a transaction."""
        head = np.ascontiguousarray(frames[:, :_FRAME_HEADER_BYTES]).view(">u4")
        stored = head[:, 4:6].astype(np.uint32)
        before = np.vstack([self._stored[None], stored[:-1]])
        sums = self._sums_of(frames, before)
        good = (sums == stored).all(axis=1)
        should_be = np.vstack([self._sums[None], sums[:-1]])
        again = np.flatnonzero(~good & (should_be != before).any(axis=1))
        if len(again):
            second = self._sums_of(frames[again], should_be[again])
            good[again] = (second == stored[again]).all(axis=1)
        self._stored, self._sums = stored[-1], sums[-1]
        if self._salts is None:
            self._salts = head[0, 2:4].copy()
        ours = (head[:, 2:4] == self._salts).all(axis=1)
        return ours & good, head[:, 1] > 0

    def _sums_of(self, frames: npt.NDArray[np.uint8], before: Words) -> Words:
        """(frames, 2): what each should store, going on from (frames, 2)."""
        sums = _checksums(before, self._in_order(frames[:, :8]))
        return _checksums(sums, self._in_order(frames[:, _FRAME_HEADER_BYTES:]))

    def _in_order(self, content: bytes | npt.NDArray[np.uint8]) -> Words:
        """The words that checksums are of, the last axis."""
        if isinstance(content, bytes):
            return np.frombuffer(content, self._order).astype(np.uint32)
        return np.ascontiguousarray(content).view(self._order).astype(np.uint32)


def _blocks(file: Any, frame_bytes: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Whole frames, (frames, bytes), some at a time; a cut one at the end is left out."""
    while content := file.read(_FRAMES_AT_ONCE * frame_bytes):
        count = len(content) // frame_bytes
        if count:
            whole = np.frombuffer(content, np.uint8, count * frame_bytes)
            yield whole.reshape(count, frame_bytes)


def _checksums(start: Words, words: Words) -> Words:
    """(frames, 2): SQLite's checksum of (frames, words), going on from (frames, 2)."""
    first, second = start[:, 0].copy(), start[:, 1].copy()
    for at in range(0, words.shape[1], 2):
        first += words[:, at] + second
        second += words[:, at + 1] + first
    return np.stack([first, second], axis=1)
