"""What writes changed of the texts and attributes of documents, for the lexical index."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidecar.storage import rows, statements
from sidecar.storage.damage import DamageLog, damage_of
from sidecar.storage.statements import DocumentRow
from sidecar.types import Attribute, Schema


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


def read_text_changes(
    connection: sqlite3.Connection,
    schema: Schema,
    damage: DamageLog,
    after: int,
    limit: int,
    limit_bytes: int,
) -> TextChanges:
    """What the writes after a sequence number changed, about `limit` documents of it, ended by the
    one whose fields make more than `limit_bytes`. Damaged documents, told to `damage`, count as
    deleted until they are written again."""
    upto = statements.last_of_chunk(connection, after, limit)
    written, damaged, size = [], [], 0
    for row in statements.rows_written_between(connection, after, upto):
        if row.is_whole:
            written.append(_to_change(row, schema))
        else:
            damaged.append(row.ordinal)
            damage.say((row.ordinal, row.sequence), damage_of(row.doc_id))
        size += len(row.fields or b"")
        if size > limit_bytes:
            upto = row.sequence
            break
    deleted = statements.deleted_between(connection, after, upto)
    return TextChanges(upto, written, [*deleted, *damaged])


def _to_change(row: DocumentRow, schema: Schema) -> TextChange:
    return TextChange(
        row.ordinal,
        row.sequence,
        rows.fields_from_json(row.fields),
        rows.attributes_from_json(row.attributes, schema.attribute_types()),
    )
