"""One SQLite database: a writing connection, a pool of reading ones, and what its errors mean."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from sidecar.errors import StorageError
from sidecar.storage.files import check_room, storage_errors
from sidecar.storage.progress import Progress
from sidecar.storage.write_ahead_log import find_damage, log_of

BUSY_TIMEOUT_SECONDS = 10.0
# The first with RETURNING.
LEAST_SQLITE = (3, 35, 0)
# To this size the log is cut once it begins anew: a long reader may have let it grow.
LOG_BYTES = 64 * 1024 * 1024
# Beyond so many readers at a time, each opens its connection and closes it again.
IDLE_READERS = 32
# Steps of SQLite's machine between two looks at whether its work is still wanted.
_TOLD_STEPS = 20_000
# What a copy that fails so says is said of the new file.
_OF_COPY = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)

_CAUSES = {
    sqlite3.SQLITE_FULL: "the disk is full: free space; nothing of this write was stored",
    sqlite3.SQLITE_READONLY: "the disk or the file is read-only: nothing of this write was stored",
    sqlite3.SQLITE_IOERR: "the disk reports an input/output error: check it",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check that the folder is there and writable",
    sqlite3.SQLITE_CORRUPT: "the database is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "not a database, or a damaged one: restore it from a backup",
}


# After these a transaction is not what is at fault, and SQLite goes on as if nothing had been.
_EXPECTED_AT_COMMIT = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY)


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's code without its extension."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def to_storage_error(path: Path, error: sqlite3.Error) -> StorageError:
    """The error for a caller: which file, why, and what to do."""
    cause = _CAUSES.get(primary_code(error), str(error))
    return StorageError(f"{path}: {cause}", path=str(path))


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nobody has made tables in a database yet."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (written,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(application == 0 and written == 0)


def check_format(
    connection: sqlite3.Connection, path: Path, application: int, newest: int, what: str
) -> int:
    """The format of a database. Raises StorageError if its application is another (it is not `what`
    is looked for) or its format newer than the newest that is known."""
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    (written,) = connection.execute("PRAGMA user_version").fetchone()
    if found != application:
        raise StorageError(f"{path}: not {what}", path=str(path))
    if written > newest:
        raise StorageError(
            f"{path}: format {written} was written by a newer sidecar; this one reads up to "
            f"{newest}: update it",
            path=str(path),
        )
    return int(written)


class Database:
    """WAL, synchronous=FULL: a committed transaction survives a crash of the machine.

    One thread writes at a time (`writing`); any number read beside it (`reading`), each on its own
    connection and, within one `reading`, on one state of the database.

    After a COMMIT that failed by an input/output error nobody knows what of it is on the disk, and
    a second fsync may say that all is well although it is not (the kernel forgets the pages of the
    first). So there are no further writes until the log was written into the database by a
    connection that was opened anew, which the next write tries; reads go on.
    """

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises StorageError, also for a write-ahead log of which
        SQLite would leave out acknowledged transactions."""
        if sqlite3.sqlite_version_info < LEAST_SQLITE:
            raise StorageError(
                f"this Python brings SQLite {sqlite3.sqlite_version}: take one that brings 3.35 "
                "or newer"
            )
        if damage := find_damage(path):
            raise damage.to_error()
        self.path = path
        self._idle: list[sqlite3.Connection] = []
        self._pool_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._closed = False
        self._doubt = ""  # why it is not known what the last COMMIT left on the disk
        # Called when that is known again, before the next write, to read anew what is kept of it.
        self.on_reopened: Callable[[sqlite3.Connection], None] = lambda _: None
        with self._errors():
            self._writer = self._connect_writer()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed at the end of the block, undone if the block raises."""
        with self._write_lock, self._errors():
            if self._doubt:
                self._reopen()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._commit()
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @property
    def is_in_doubt(self) -> bool:
        """Whether writes are refused since an input/output error in a COMMIT."""
        return bool(self._doubt)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the database, to read from."""
        with self._errors():
            connection = self._take()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._give_back(connection)

    def copy_to(self, path: Path, progress: Progress) -> None:
        """Writes a copy as of one moment; writes go on. The caller syncs it, and removes what a
        failure leaves. Raises StorageError.

        By VACUUM INTO, one read transaction: SQLite's backup interface begins again whenever
        another connection writes, and copies pages without looking at what they hold.
        """
        with storage_errors(path):
            log = log_of(self.path)
            log_bytes = log.stat().st_size if log.exists() else 0
            check_room(path.parent, self.path.stat().st_size + log_bytes)
        tell = _copy_told(path, self.path, progress)
        with self._errors(), contextlib.closing(self._connect()) as connection:
            try:
                with telling(connection, tell):
                    connection.execute("VACUUM INTO ?", (str(path),))
            except sqlite3.OperationalError as error:
                is_of_copy = error.sqlite_errorcode & 0xFF in _OF_COPY
                raise to_storage_error(path if is_of_copy else self.path, error) from error

    def fold_log(self) -> bool:
        """Brings the write-ahead log into the database and empties it. False if somebody still
        reads what is in it, who is not waited for. Raises StorageError."""
        with self._write_lock, self._errors():
            if self._doubt or self._closed:
                return False
            self._writer.execute("PRAGMA busy_timeout=0").fetchone()
            try:
                folded = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                milliseconds = round(BUSY_TIMEOUT_SECONDS * 1000)
                self._writer.execute(f"PRAGMA busy_timeout={milliseconds}").fetchone()
            return bool(folded[0] == 0)

    def close(self) -> None:
        """Folds the write-ahead log into the database and closes. May be called twice."""
        with self._pool_lock:
            if self._closed:
                return
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        with contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.close()

    def _commit(self) -> None:
        try:
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            if primary_code(error) not in _EXPECTED_AT_COMMIT:
                self._doubt = str(error)
            raise

    def _reopen(self) -> None:
        """Raises StorageError; it is tried again by the next write."""
        try:
            reopened = self._connect_writer()
            old, self._writer = self._writer, reopened
            old.close()
            # Every page is written and synced once more, from where reads find it.
            checkpoint = reopened.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if not _is_complete(*checkpoint):
                raise self._refusal(
                    "not all of its log could be written into it: a backup, a verification or a "
                    "search still reads an earlier state: write again later"
                )
            self.on_reopened(reopened)
            self._doubt = ""
        except sqlite3.Error as error:
            raise self._refusal(
                f"it cannot be opened anew: {error}: check the disk; searches go on"
            ) from error

    def _refusal(self, why: str) -> StorageError:
        return StorageError(
            f"{self.path}: no writes since a commit failed ({self._doubt}): {why}",
            path=str(self.path),
        )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA temp_store=MEMORY")
        return connection

    def _connect_writer(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA journal_size_limit={LOG_BYTES}").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _take(self) -> sqlite3.Connection:
        with self._pool_lock:
            if self._closed:
                raise StorageError(f"{self.path}: the collection is closed")
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._pool_lock:
            if not self._closed and len(self._idle) < IDLE_READERS:
                self._idle.append(connection)
                return
        connection.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise to_storage_error(self.path, error) from error


def _is_complete(busy: int, frames: int, checkpointed: int) -> bool:
    """Of a checkpoint's row: one may end early, for readers, and be no error. See
    https://www.sqlite.org/pragma.html#pragma_wal_checkpoint"""
    return not busy and frames == checkpointed


@contextlib.contextmanager
def telling(connection: sqlite3.Connection, tell: Callable[[], None]) -> Iterator[None]:
    """Calls `tell` from time to time while a connection works; what it raises ends the work."""
    refusals: list[BaseException] = []

    def heard() -> int:
        try:
            tell()
        except BaseException as refusal:  # SQLite would lose it
            refusals.append(refusal)
        return len(refusals)

    connection.set_progress_handler(heard, _TOLD_STEPS)
    try:
        yield
    except sqlite3.OperationalError:
        if refusals:
            raise refusals[0] from None
        raise
    finally:
        connection.set_progress_handler(None, 0)


def _copy_told(copy: Path, source: Path, progress: Progress) -> Callable[[], None]:
    total = source.stat().st_size

    def tell() -> None:
        done = copy.stat().st_size if copy.exists() else 0
        progress("copies documents", min(done, total), total)

    return tell
