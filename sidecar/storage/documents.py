"""Documents on disk: the truth of a collection, from which its indexes are derived.

A write is one transaction, whole or not at all, and gives each document a sequence number, rising.
A derived index that has everything up to sequence s catches up by `text_changes(s)`, and one of
vectors by the `changes` of its generation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sidecar.errors import DamagedError
from sidecar.storage import statements
from sidecar.storage.database import Database, check_format
from sidecar.storage.document_writer import DocumentWriter
from sidecar.storage.files import storage_errors
from sidecar.storage.headers import Header, put_header, read_header
from sidecar.storage.progress import Progress
from sidecar.storage.read_only import EarlierFormatError, ReadOnlyDatabase
from sidecar.storage.stored_generations import (
    BiEncoderIdentity,
    StoredGeneration,
    create_generation,
    drop_generation,
)
from sidecar.storage.tables import APPLICATION_ID, FORMAT, create_tables, migrate

FILE_NAME = "documents.sqlite"


class DocumentStore(DocumentWriter):
    """The documents of one collection in a folder, and the generations of their vectors."""

    @classmethod
    def create(
        cls, folder: Path, header: Header, bi_encoder: BiEncoderIdentity | None = None
    ) -> DocumentStore:
        """An empty store in an existing folder, the generation of `bi_encoder` leading.

        Raises StorageError.
        """
        database = Database(folder / FILE_NAME)
        with database.writing() as connection:
            create_tables(connection)
            put_header(connection, header)
            leading = create_generation(connection, bi_encoder) if bi_encoder is not None else 0
            statements.set_meta(connection, "leading", leading)
            for key in ("number", "sequence", "pruned_sequence"):
                statements.set_meta(connection, key, 0)
        return cls(database, header)

    @classmethod
    def open(cls, folder: Path) -> DocumentStore:
        """The store of a folder, brought to this format if it is of an earlier one.

        Raises StorageError: missing, damaged, of a newer format.
        """
        path = folder / FILE_NAME
        with storage_errors(path):
            try:
                path.stat()
            except FileNotFoundError as error:
                message = f"{path}: missing: restore it from a backup"
                raise DamagedError(message, path=str(path)) from error
        database = Database(path)
        with _closed_on_failure(database):
            with database.reading() as connection:
                written_format = check_format(
                    connection, path, APPLICATION_ID, FORMAT, "the database of a collection"
                )
            if written_format < FORMAT:
                with database.writing() as connection:
                    migrate(connection)
            return cls(database, read_header(database))

    @classmethod
    def open_read_only(cls, folder: Path) -> DocumentStore:
        """The store of a folder that nobody else uses, of which nothing is changed.

        Raises StorageError: also for one of an earlier format.
        """
        path = folder / FILE_NAME
        database = ReadOnlyDatabase(path)
        with _closed_on_failure(database):
            with database.reading() as connection:
                found = check_format(
                    connection, path, APPLICATION_ID, FORMAT, "the database of a collection"
                )
            if found < FORMAT:
                raise EarlierFormatError(
                    f"{path}: format {found}: a start brings it to format {FORMAT}", path=str(path)
                )
            return cls(database, read_header(database))

    def fold_log(self) -> bool:
        """Brings the write-ahead log into the database. False if somebody reads it just now, True
        if there is nothing left of it. Raises StorageError."""
        return self._database.fold_log()

    def copy_to(self, folder: Path, progress: Progress) -> None:
        """Writes all of it, as of one moment, into another folder, where `open` finds it. Raises
        StorageError."""
        self._database.copy_to(folder / FILE_NAME, progress)

    def moved(self, folder: Path) -> None:
        """The folder was renamed: connections opened from now on use its new name."""
        self._database.path = folder / FILE_NAME

    def close(self) -> None:
        """Closes the database. May be called twice."""
        self._database.close()

    def add_generation(self, bi_encoder: BiEncoderIdentity) -> StoredGeneration:
        """The generation of a bi-encoder, made if there is none; durable once returned."""
        with self._clock.writing:
            known = self._generations.get(bi_encoder)
            if known is not None:
                return known
            with self._database.writing() as connection:
                generation = create_generation(connection, bi_encoder)
            added = StoredGeneration(
                self._database, self._clock, self._damage, generation, bi_encoder
            )
            self._generations = {**self._generations, bi_encoder: added}
            return added

    def lead(self, bi_encoder: BiEncoderIdentity) -> None:
        """Makes a generation the leading one; durable once returned."""
        with self._clock.writing:
            leading = self._generations[bi_encoder]
            if leading is self.leading:
                return
            with self._database.writing() as connection:
                statements.set_meta(connection, "leading", leading.generation)
            self.leading = leading

    def drop_generation(self, bi_encoder: BiEncoderIdentity) -> None:
        """Removes a generation that does not lead, with its vectors; durable once returned.

        Nobody may add to it meanwhile. Its room in the file goes to what is written later. Raises
        StorageError; the generation then lacks vectors, and can be dropped or gone on with.
        """
        dropped = self._generations.get(bi_encoder)
        if dropped is None:
            return
        assert dropped is not self.leading
        dropped.empty()
        with self._clock.writing:
            with self._database.writing() as connection:
                drop_generation(connection, dropped.generation)
            others = {i: each for i, each in self._generations.items() if i != bi_encoder}
            self._generations = others


@contextlib.contextmanager
def _closed_on_failure(database: Database) -> Iterator[None]:
    """Raises as DamagedError what reading a damaged header raises."""
    try:
        yield
    except (ValueError, TypeError, LookupError) as error:
        database.close()
        raise DamagedError(
            f"{database.path}: what it says of the collection as a whole is damaged: {error!r}: "
            "restore it from a backup",
            path=str(database.path),
        ) from error
    except BaseException:
        database.close()
        raise
