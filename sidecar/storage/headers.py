"""What a collection is, as its database says it: id, name, schema, with a checksum."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from sidecar.storage import rows, statements
from sidecar.storage.checksums import checksum_of_header
from sidecar.storage.database import Database
from sidecar.types import Schema


@dataclass(frozen=True, slots=True)
class Header:
    """What a collection is. `collection_id` is unique, also among collections of one name."""

    collection_id: str
    name: str
    schema: Schema


def put_header(connection: sqlite3.Connection, header: Header) -> None:
    """Writes down what a collection is, within the caller's transaction."""
    texts = header.collection_id, header.name, rows.schema_to_json(header.schema)
    for key, text in zip(("collection_id", "name", "schema"), texts, strict=True):
        statements.set_meta(connection, key, text)
    statements.set_meta(connection, "header_checksum", checksum_of_header(*texts))


def read_header(database: Database) -> Header:
    """What the collection of a database is. Raises ValueError, TypeError, LookupError: damaged."""
    with database.reading() as connection:
        collection_id, name, schema = (
            statements.meta(connection, key) for key in ("collection_id", "name", "schema")
        )
        checksum = statements.find_meta(connection, "header_checksum")
    # Collections that were made by formats 1 and 2 have none.
    if checksum is not None and checksum != checksum_of_header(collection_id, name, schema):
        raise ValueError(f"the checksum of {name!r} is another")
    return Header(collection_id, name, rows.schema_from_json(schema))
