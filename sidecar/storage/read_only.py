"""A SQLite database that is looked at and left as it is, byte by byte."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from sidecar.errors import DamagedError, StorageError
from sidecar.storage.database import BUSY_TIMEOUT_SECONDS, Database
from sidecar.storage.files import storage_errors
from sidecar.storage.write_ahead_log import log_of


class EarlierFormatError(StorageError):
    """Nothing is wrong with it, but only `migrate` can bring it to what is read here."""


class ReadOnlyDatabase(Database):
    """Nobody else may use it meanwhile, and there is no `writing`.

    A log that was not folded into the database is read with it. SQLite makes an index of the log in
    a file beside it, which goes again with `close`.
    """

    def __init__(self, path: Path) -> None:
        """Raises StorageError, as Database does; DamagedError if it is missing."""
        with storage_errors(path):
            if not path.is_file():
                raise DamagedError(f"{path}: missing: restore it from a backup", path=str(path))
            log, index = log_of(path), path.with_name(path.name + "-shm")
            has_log = log.exists() and log.stat().st_size > 0
            self._trace = None if index.exists() or not has_log else index
        # Without a log nobody changes the file, and SQLite needs no lock and no file of its own.
        self._parameters = "mode=ro" if has_log else "immutable=1"
        super().__init__(path)

    def close(self) -> None:
        """May be called twice."""
        with self._pool_lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in (*idle, self._writer):
            connection.close()
        if self._trace is not None:
            with contextlib.suppress(OSError):
                self._trace.unlink(missing_ok=True)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.absolute().as_uri()}?{self._parameters}",
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )

    def _connect_writer(self) -> sqlite3.Connection:
        """Writes nothing: so that what cannot be opened is told of at once."""
        connection = self._connect()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return connection
