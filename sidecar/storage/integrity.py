"""Whether a database holds what was written: what SQLite finds, what the tables find in each other,
and rows that are not as they were written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from sidecar.storage import rows, statements
from sidecar.storage.damage import damage_of
from sidecar.storage.stored_generations import StoredGeneration
from sidecar.types import Schema

_MOST = 2**63 - 1


def findings_of(
    connection: sqlite3.Connection, schema: Schema, generations: Iterable[StoredGeneration]
) -> Iterator[str]:
    """In words, none if all is well. Raises sqlite3.Error for what cannot be read at all."""
    said = [line for (line,) in connection.execute("PRAGMA integrity_check")]
    yield from (line for line in said if line != "ok")
    (strays,) = connection.execute(
        "SELECT count(*) FROM attribute_values WHERE ordinal NOT IN (SELECT ordinal FROM documents)"
    ).fetchone()
    if strays:
        yield f"{strays} rows of attribute_values without a document"
    yield from _damaged(connection, schema)
    for generation in generations:
        yield from generation.findings(connection)


def _damaged(connection: sqlite3.Connection, schema: Schema) -> Iterator[str]:
    types = schema.attribute_types()
    for row in statements.rows_written_between(connection, -_MOST, _MOST):
        if not row.is_whole:
            yield damage_of(row.doc_id).message
            continue
        attributes = rows.attributes_from_json(row.attributes, types)
        if not statements.has_attributes(connection, row.ordinal, attributes):
            yield damage_of(row.doc_id, "what filters find of ").message
