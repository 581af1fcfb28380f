"""Documents on disk: the truth of a collection, from which its indexes are derived.

A write is one transaction, whole or not at all, and gives each document a sequence number, rising.
A derived index that has everything up to sequence s catches up by `text_changes(s)`, and one of
vectors by the `changes` of its generation.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sidecar.errors import DamagedError
from sidecar.storage import rows, statements
from sidecar.storage.attributes import AttributeReader
from sidecar.storage.checksums import DamageLog, checksum_of_header, damage_of
from sidecar.storage.database import (
    Database,
    check_format,
    primary_code,
    telling,
    to_storage_error,
)
from sidecar.storage.files import storage_errors
from sidecar.storage.integrity import findings_of
from sidecar.storage.progress import Progress, unheard
from sidecar.storage.read_only import EarlierFormatError, ReadOnlyDatabase
from sidecar.storage.statements import DocumentRow, VectorRow
from sidecar.storage.stored_generations import (
    BiEncoderIdentity,
    Clock,
    StoredGeneration,
    Vector,
    create_generation,
    drop_generation,
    read_generations,
)
from sidecar.storage.tables import APPLICATION_ID, FORMAT, create_tables, migrate
from sidecar.storage.versions import Versions, read_versions
from sidecar.storage.writes import Deletion, Done, Terms, Upsert, Write, WriteTransaction, settle
from sidecar.types import Attribute, Document, Schema

FILE_NAME = "documents.sqlite"
KEEP_IDS_SECONDS = 24 * 3600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Header:
    """What a collection is. `collection_id` is unique, also among collections of one name."""

    collection_id: str
    name: str
    schema: Schema


@dataclass(frozen=True, slots=True)
class TextChange:
    """A document as last written, for the lexical index."""

    ordinal: int
    sequence: int
    fields: Mapping[str, str]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class TextChanges:
    """All that the writes up to `upto` changed: forget `deleted`, then (re)place `written`."""

    upto: int
    written: Sequence[TextChange]
    deleted: Sequence[int]


class DocumentStore:
    """The documents of one collection. Reads run beside a write, each on one state."""

    def __init__(self, database: Database, header: Header) -> None:
        self._database = database
        self.header = header
        self._damage = DamageLog()
        self._clock, self._generations = Clock(), {}
        with database.reading() as connection:
            self._read_state(connection)
            leading = int(statements.meta(connection, "leading"))
        self._generations = read_generations(database, self._clock, self._damage)
        database.on_reopened = self._read_state
        self.leading = next(
            (each for each in self._generations.values() if each.generation == leading), None
        )

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
            return cls(database, _header_of(database))

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
            return cls(database, _header_of(database))

    def fold_log(self) -> bool:
        """Brings the write-ahead log into the database. False if somebody reads it just now, True
        if there is nothing left of it. Raises StorageError."""
        return self._database.fold_log()

    def copy_to(self, folder: Path, progress: Progress) -> None:
        """Writes all of it, as of one moment, into another folder, where `open` finds it. Raises
        StorageError."""
        self._database.copy_to(folder / FILE_NAME, progress)

    @property
    def path(self) -> Path:
        """The database file."""
        return self._database.path

    @property
    def sequence(self) -> int:
        """The number of the last document written or deleted."""
        return self._clock.sequence

    @property
    def number(self) -> int:
        """The number of the last write of any kind; never less than `sequence`."""
        return self._clock.number

    def close(self) -> None:
        """Closes the database. May be called twice."""
        self._database.close()

    # Generations

    @property
    def generations(self) -> dict[BiEncoderIdentity, StoredGeneration]:
        """Those that there are, in the order they were added."""
        return dict(self._generations)

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

    # Writes

    def settle(self, terms: Terms) -> Done | None:
        """The answer to a write that would not be done now; None if it would be. Raises
        RequestIdReusedError, StorageError."""
        with self._database.reading() as connection:
            return settle(connection, terms)

    def write_all(
        self, writes: Sequence[Write], keep_ids_seconds: float = KEEP_IDS_SECONDS
    ) -> list[Done | Exception]:
        """Does writes one after the other, if it can be in one transaction; durable once returned.

        One that fails (RequestIdReusedError, StorageError) leaves the others as they are.
        """
        try:
            return self._write_together(writes, keep_ids_seconds)
        except Exception as error:  # nothing was committed
            if len(writes) == 1 or self._database.is_in_doubt:
                return [error] * len(writes)
        # One that does not fit on the disk leaves room for another.
        return [done for each in writes for done in self.write_all([each], keep_ids_seconds)]

    def write(
        self,
        documents: Sequence[Document],
        vectors: Sequence[Vector | None],
        bi_encoder: BiEncoderIdentity | None,
    ) -> int:
        """Does one Upsert. Returns the sequence number of the last document."""
        return self._write_one(Upsert(documents, vectors, bi_encoder)).sequence

    def delete(self, doc_ids: Sequence[str]) -> tuple[int, list[int]]:
        """Does one Deletion. Returns the sequence number of the last one (0 if there was none) and
        the ordinals."""
        done = self._write_one(Deletion(doc_ids))
        return done.sequence, list(done.ordinals)

    def _write_one(self, write: Write) -> Done:
        (done,) = self.write_all([write])
        if isinstance(done, Exception):
            raise done
        return done

    def _write_together(
        self, writes: Sequence[Write], keep_ids_seconds: float
    ) -> list[Done | Exception]:
        with self._clock.writing:
            generations = list(self._generations.values())
            with self._database.writing() as connection:
                transaction = WriteTransaction(connection, generations, self._clock.number)
                outcomes = [self._outcome(connection, transaction, each) for each in writes]
                transaction.finish(keep_ids_seconds)
            for write, outcome in zip(writes, outcomes, strict=True):
                if isinstance(outcome, Done) and outcome.sequence and not outcome.repeated:
                    self._written(write, outcome)
            return outcomes

    def _outcome(
        self, connection: sqlite3.Connection, transaction: WriteTransaction, write: Write
    ) -> Done | Exception:
        """Raises what ended the transaction, or tells of the disk as a whole."""
        try:
            return transaction.do(write)
        except sqlite3.Error as error:
            if not connection.in_transaction or primary_code(error) == sqlite3.SQLITE_IOERR:
                raise
            return to_storage_error(self.path, error)
        except Exception as error:
            return error

    def _written(self, write: Write, done: Done) -> None:
        """It was committed."""
        for generation in self._generations.values():
            try:
                generation.written(done.sequence, write.has_all_of(generation.bi_encoder))
            except Exception:  # it is durable all the same
                _log.exception(
                    "%s: %s was not told of a durable write", self.path, generation.bi_encoder
                )
        self._clock.number = self._clock.sequence = done.sequence
        self.count += done.added

    def _read_state(self, connection: sqlite3.Connection) -> None:
        """Takes over what the database says of the writes."""
        (self.count,) = connection.execute("SELECT count(*) FROM documents").fetchone()
        self._clock.number = int(statements.meta(connection, "number"))
        self._clock.sequence = int(statements.meta(connection, "sequence"))
        for generation in self._generations.values():
            generation.read_state(connection)

    def prune(self, upto: int) -> None:
        """Forgets deletions up to a number that all derived indexes have on disk."""
        with self._clock.writing, self._database.writing() as connection:
            if statements.drop_tombstones(connection, upto):
                statements.set_meta(connection, "pruned_sequence", upto)

    # Reads

    def pruned_sequence(self) -> int:
        """An index with a lower watermark cannot catch up and is rebuilt."""
        with self._database.reading() as connection:
            pruned: int = statements.meta(connection, "pruned_sequence")
            return pruned

    def get(self, doc_ids: Sequence[str], include_vectors: bool = False) -> list[Document]:
        """The documents that are stored, in the order asked, with vectors of the leading
        generation if wanted. Raises DamagedError."""
        with self._database.reading() as connection:
            leading = statements.meta(connection, "leading") if include_vectors else 0
            found = []
            for row in statements.rows_of_ids(connection, doc_ids):
                vector = statements.vector_of(connection, leading, row.ordinal) if leading else None
                found.append(self._to_document(row, vector))
        return found

    def sequences_of(self, doc_ids: Sequence[str]) -> dict[str, int]:
        """The sequence numbers of the documents that are stored, by id; nothing else is read."""
        with self._database.reading() as connection:
            versions = statements.versions_of(connection, doc_ids)
        return {doc_id: version for doc_id, version in versions.items() if version}

    def attributes(self, doc_ids: Sequence[str]) -> dict[str, dict[str, Attribute]]:
        """The attributes of the documents that are stored, by id; without damaged ones."""
        types = self.header.schema.attribute_types()
        with self._database.reading() as connection:
            return {
                row.doc_id: rows.attributes_from_json(row.attributes, types)
                for row in self._whole(statements.rows_of_ids(connection, doc_ids))
            }

    def vectors(
        self, doc_ids: Sequence[str], bi_encoder: BiEncoderIdentity | None
    ) -> dict[str, Vector]:
        """The vectors (dimensions,) of the documents that have one of a bi-encoder (None: of the
        leading generation), by id; without damaged ones."""
        stored = self.leading if bi_encoder is None else self._generations.get(bi_encoder)
        if stored is None:
            return {}
        found = {}
        with self._database.reading() as connection:
            for row in self._whole(statements.rows_of_ids(connection, doc_ids)):
                vector = statements.vector_of(connection, stored.generation, row.ordinal)
                if vector is not None and stored.is_whole(connection, vector):
                    found[row.doc_id] = rows.from_blob(vector.blob)
        return found

    def fields(self, doc_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """The fields of the documents that are stored, by id; without damaged ones."""
        with self._database.reading() as connection:
            return {
                row.doc_id: rows.fields_from_json(row.fields)
                for row in self._whole(statements.rows_of_ids(connection, doc_ids))
            }

    def _whole(self, found: Iterable[DocumentRow]) -> Iterator[DocumentRow]:
        """Those that are as they were written; of the others it is said."""
        for row in found:
            if row.is_whole:
                yield row
            else:
                self._damage.say((row.ordinal, row.sequence), damage_of(row.doc_id))

    def _to_document(self, row: DocumentRow, vector: VectorRow | None) -> Document:
        if not row.is_whole:
            raise damage_of(row.doc_id)
        if vector is not None and not vector.is_whole:
            raise damage_of(row.doc_id, "the vector of ")
        return Document(
            doc_id=row.doc_id,
            fields=rows.fields_from_json(row.fields),
            attributes=rows.attributes_from_json(
                row.attributes, self.header.schema.attribute_types()
            ),
            vector=None if vector is None else rows.from_blob(vector.blob).tolist(),
            version=row.sequence,
        )

    def doc_ids(self, ordinals: Sequence[int]) -> dict[int, str]:
        """The ids of the documents that are stored, by ordinal; without damaged ones."""
        with self._database.reading() as connection:
            found = {}
            for ordinal, doc_id, is_whole in statements.ids_of(connection, ordinals):
                if is_whole:
                    found[ordinal] = doc_id
                else:
                    self._damage.say((ordinal, doc_id), damage_of(doc_id))
            return found

    @contextlib.contextmanager
    def reading_attributes(self) -> Iterator[AttributeReader]:
        """One state of the attributes, to filter by."""
        with self._database.reading() as connection:
            yield AttributeReader(connection)

    def text_changes(self, after: int, limit: int, limit_bytes: int) -> TextChanges:
        """What the writes after a sequence number changed, about `limit` documents of it. Damaged
        documents count as deleted until they are written again."""
        with self._database.reading() as connection:
            upto = statements.last_of_chunk(connection, after, limit)
            written, damaged, size = [], [], 0
            for row in statements.rows_written_between(connection, after, upto):
                if row.is_whole:
                    written.append(self._text_change(row))
                else:
                    damaged.append(row.ordinal)
                    self._damage.say((row.ordinal, row.sequence), damage_of(row.doc_id))
                size += len(row.fields or b"")
                if size > limit_bytes:
                    upto = row.sequence
                    break
            deleted = statements.deleted_between(connection, after, upto)
            return TextChanges(upto, written, [*deleted, *damaged])

    def moved(self, folder: Path) -> None:
        """The folder was renamed: connections opened from now on use its new name."""
        self._database.path = folder / FILE_NAME

    def sequences(self) -> dict[int, int]:
        """The sequence number of every document, by ordinal: for `verify`."""
        with self._database.reading() as connection:
            return dict(connection.execute("SELECT ordinal, sequence FROM documents").fetchall())

    def versions(self) -> Versions:
        """Which versions of which documents there are: for `verify`."""
        with self._database.reading() as connection:
            return read_versions(connection)

    def changed_after(self, sequence: int) -> set[int]:
        """Ordinals of what was written or deleted after a number, as far as it is remembered."""
        with self._database.reading() as connection:
            upto = int(statements.meta(connection, "sequence"))
            written = statements.written_between(connection, sequence, upto)
            return {*written, *statements.deleted_between(connection, sequence, upto)}

    def check_integrity(self, progress: Progress = unheard) -> list[str]:
        """What SQLite finds wrong with the file, what the tables find in each other, and rows that
        are not as they were written."""
        tell = functools.partial(progress, "checks the database", 0, 0)
        with self._database.reading() as connection, telling(connection, tell):
            findings = list(findings_of(connection, self.header.schema, self._generations.values()))
            return [f"{self.path}: {finding}" for finding in findings]

    def _text_change(self, row: DocumentRow) -> TextChange:
        types = self.header.schema.attribute_types()
        return TextChange(
            row.ordinal,
            row.sequence,
            rows.fields_from_json(row.fields),
            rows.attributes_from_json(row.attributes, types),
        )


def put_header(connection: sqlite3.Connection, header: Header) -> None:
    """Writes down what a collection is, within the caller's transaction."""
    texts = header.collection_id, header.name, rows.schema_to_json(header.schema)
    for key, text in zip(("collection_id", "name", "schema"), texts, strict=True):
        statements.set_meta(connection, key, text)
    statements.set_meta(connection, "header_checksum", checksum_of_header(*texts))


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


def _header_of(database: Database) -> Header:
    """Raises ValueError, TypeError, LookupError for what cannot be read."""
    with database.reading() as connection:
        collection_id, name, schema = (
            statements.meta(connection, key) for key in ("collection_id", "name", "schema")
        )
        checksum = statements.find_meta(connection, "header_checksum")
    # Collections that were made by formats 1 and 2 have none.
    if checksum is not None and checksum != checksum_of_header(collection_id, name, schema):
        raise ValueError(f"the checksum of {name!r} is another")
    return Header(collection_id, name, rows.schema_from_json(schema))
