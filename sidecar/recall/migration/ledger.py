"""What is known of a migration, in a database beside the collection's: where it goes, up to which
write it has come, and which document has which ordinal, for deletions name ordinals.

It is written before the target is: whatever the target has, the ledger knows of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from sidecar.recall.remote import RemoteRecord, record_from_json, record_to_json
from sidecar.storage.database import Database, check_format, is_empty
from sidecar.storage.files import storage_errors, sync_folder
from sidecar.storage.write_ahead_log import log_of

FILE_NAME = "migration.sqlite"
# "SIDM": tells it from other databases.
APPLICATION_ID = 0x5349444D
FORMAT = 1
MOST_ORDINALS = 500
_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    "CREATE TABLE sent (ordinal INTEGER PRIMARY KEY, doc_id TEXT NOT NULL)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
)


def has_ledger(folder: Path) -> bool:
    """Whether a migration of the collection of a folder has begun and is not finished."""
    return (folder / FILE_NAME).exists()


class Ledger:
    """Of one migration; what a method writes is durable once it returned. Raises StorageError."""

    def __init__(self, database: Database) -> None:
        """Use `create` or `find`."""
        self._database = database
        self.record = record_from_json(self._meta("record"), database.path)
        self.watermark = int(self._meta("watermark"))

    @classmethod
    def create(cls, folder: Path, record: RemoteRecord) -> Self:
        """Of a migration to an empty index, in the folder of a collection that has none."""
        database = Database(folder / FILE_NAME)
        with database.writing() as connection:
            for statement in _TABLES:
                connection.execute(statement)
            values = {"record": record_to_json(record), "watermark": 0, "stage": "copying"}
            connection.executemany("INSERT INTO meta VALUES (?, ?)", values.items())
        with storage_errors(folder):
            sync_folder(folder)
        return cls(database)

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """That of a collection's folder, if there is one."""
        path = folder / FILE_NAME
        with storage_errors(path):
            if not path.exists():
                return None
        database = Database(path)
        try:
            with database.reading() as connection:
                if is_empty(connection):  # its creation was broken off
                    database.close()
                    return None
                check_format(connection, path, APPLICATION_ID, FORMAT, "the ledger of a migration")
            return cls(database)
        except BaseException:
            database.close()
            raise

    @property
    def stage(self) -> str:
        """ "copying", "switched", "back" or "finishing"."""
        return str(self._meta("stage"))

    def enter(self, stage: str) -> None:
        """Another stage began."""
        with self._database.writing() as connection:
            connection.execute("UPDATE meta SET value = ? WHERE key = 'stage'", (stage,))

    def announce(self, ordinals: Sequence[int], doc_ids: Sequence[str]) -> None:
        """Documents that are about to be written into the target."""
        with self._database.writing() as connection:
            rows = zip(ordinals, doc_ids, strict=True)
            connection.executemany("INSERT OR REPLACE INTO sent VALUES (?, ?)", rows)

    def advance(self, watermark: int, forgotten: Sequence[int]) -> None:
        """The target has all that was written up to a number, and no document of these ordinals."""
        with self._database.writing() as connection:
            connection.executemany(
                "DELETE FROM sent WHERE ordinal = ?", [(ordinal,) for ordinal in forgotten]
            )
            connection.execute("UPDATE meta SET value = ? WHERE key = 'watermark'", (watermark,))
        self.watermark = watermark

    def doc_ids(self, ordinals: Sequence[int]) -> dict[int, str]:
        """The ids of documents that may be in the target, by ordinal."""
        found: dict[int, str] = {}
        with self._database.reading() as connection:
            for start in range(0, len(ordinals), MOST_ORDINALS):
                some = ordinals[start : start + MOST_ORDINALS]
                marks = ",".join("?" * len(some))
                found |= connection.execute(
                    f"SELECT ordinal, doc_id FROM sent WHERE ordinal IN ({marks})", tuple(some)
                ).fetchall()
        return found

    def sent(self) -> Iterator[dict[int, str]]:
        """All of these, some at a time."""
        last = -1
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(
                    "SELECT ordinal, doc_id FROM sent WHERE ordinal > ? ORDER BY ordinal LIMIT ?",
                    (last, MOST_ORDINALS),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield dict(rows)

    def close(self) -> None:
        """May be called twice."""
        self._database.close()

    def remove(self) -> None:
        """There is no migration any more."""
        self._database.close()
        path = self._database.path
        with storage_errors(path):
            # In this order: a log without its database would be taken for that of the next one.
            log_of(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            path.with_name(path.name + "-shm").unlink(missing_ok=True)
            sync_folder(path.parent)

    def _meta(self, key: str) -> Any:
        with self._database.reading() as connection:
            (value,) = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return value
