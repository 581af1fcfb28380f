"""What is read of the documents of a collection, each read on one state, beside writes.

Damage to a document is raised where it was asked for, and elsewhere said once and passed over.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sidecar.storage import rows, statements
from sidecar.storage.attributes import AttributeReader
from sidecar.storage.damage import DamageLog, damage_of
from sidecar.storage.database import Database, telling
from sidecar.storage.headers import Header
from sidecar.storage.integrity import findings_of
from sidecar.storage.progress import Progress, unheard
from sidecar.storage.remembered_ids import RememberedIds
from sidecar.storage.statements import DocumentRow, VectorRow
from sidecar.storage.stored_generations import (
    BiEncoderIdentity,
    Clock,
    StoredGeneration,
    Vector,
    read_generations,
)
from sidecar.storage.text_changes import TextChanges, read_text_changes
from sidecar.storage.versions import Versions, read_versions
from sidecar.types import Attribute, Document


class DocumentReader:
    """The documents of one collection, with what its database says of the writes so far."""

    def __init__(self, database: Database, header: Header) -> None:
        self._database = database
        self.header = header
        self._damage = DamageLog()
        self._ids = RememberedIds()
        self._clock = Clock()
        self._generations: dict[BiEncoderIdentity, StoredGeneration] = {}
        with database.reading() as connection:
            self._read_state(connection)
            leading = int(statements.meta(connection, "leading"))
        self._generations = read_generations(database, self._clock, self._damage)
        database.on_reopened = self._read_state
        self.leading = next(
            (each for each in self._generations.values() if each.generation == leading), None
        )

    def _read_state(self, connection: sqlite3.Connection) -> None:
        """Takes over what the database says of the writes."""
        self._ids.clear()
        (self.count,) = connection.execute("SELECT count(*) FROM documents").fetchone()
        self._clock.number = int(statements.meta(connection, "number"))
        self._clock.sequence = int(statements.meta(connection, "sequence"))
        for generation in self._generations.values():
            generation.read_state(connection)

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

    @property
    def generations(self) -> dict[BiEncoderIdentity, StoredGeneration]:
        """Those that there are, in the order they were added."""
        return dict(self._generations)

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

    def remembered_doc_ids(self, ordinals: Sequence[int]) -> dict[int, str]:
        """Like `doc_ids`, but without the database for what it was asked before; as exact in which
        documents there are. One damaged since it was remembered is among them."""
        if self._database.is_in_doubt:
            return self.doc_ids(ordinals)
        found, state = self._ids.find(ordinals)
        missing = [ordinal for ordinal in ordinals if ordinal not in found]
        if not missing:
            return found
        read = self.doc_ids(missing)
        if self._ids.keep(read, state):
            return found | read
        return self.doc_ids(ordinals)

    @contextlib.contextmanager
    def reading_attributes(self) -> Iterator[AttributeReader]:
        """One state of the attributes, to filter by."""
        with self._database.reading() as connection:
            yield AttributeReader(connection)

    def text_changes(self, after: int, limit: int, limit_bytes: int) -> TextChanges:
        """What the writes after a sequence number changed, about `limit` documents of it. Damaged
        documents count as deleted until they are written again."""
        with self._database.reading() as connection:
            return read_text_changes(
                connection, self.header.schema, self._damage, after, limit, limit_bytes
            )

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
