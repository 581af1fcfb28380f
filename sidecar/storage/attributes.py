"""The attributes of a collection's documents, as filters and facets ask for them.

An ordinal is that of a document, 1 to 2**63 - 1; a value is one of `rows.to_row_values`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidecar.storage import statements
from sidecar.storage.rows import RowValue

Ordinals = npt.NDArray[np.int64]

# Values of one attribute that are read at a time.
CHUNK_VALUES = 2_000


@dataclass(frozen=True, slots=True)
class ValueChunk:
    """Some values of an attribute, rising, with the ordinals of their documents: `counts[i]` of
    `ordinals` belong to `values[i]`, in this order."""

    values: list[RowValue]
    counts: list[int]
    ordinals: Ordinals


@dataclass(frozen=True, slots=True)
class AttributeChanges:
    """What the writes up to `upto` changed: `written` have the values in `rows` (name, value,
    ordinal) and no others any more, `deleted` are gone."""

    upto: int
    written: list[int]
    deleted: list[int]
    rows: list[tuple[str, RowValue, int]]


class AttributeReader:
    """Which documents have which attributes, on one state of the database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @property
    def sequence(self) -> int:
        """The number of the last write of this state."""
        return int(statements.meta(self._connection, "sequence"))

    @property
    def pruned_sequence(self) -> int:
        """Deletions up to it may be missing from `changes`."""
        return int(statements.meta(self._connection, "pruned_sequence"))

    def ordinals_where(self, condition: str, parameters: Sequence[object]) -> Ordinals:
        """Ordinals of the attribute rows (name, value) for which an SQL condition holds."""
        return self._ordinals(f"attribute_values WHERE {condition}", parameters)

    def all_ordinals(self) -> Ordinals:
        """Ordinals of all documents, sorted."""
        return np.sort(self._ordinals("documents", ()))

    def values_of(self, name: str) -> Iterator[ValueChunk]:
        """All values of an attribute, rising: numbers by size, strings by code point."""
        found = self._connection.execute(
            "SELECT value, count(*), group_concat(ordinal) FROM attribute_values"
            " WHERE name = ? GROUP BY value ORDER BY value",
            (name,),
        )
        while rows := found.fetchmany(CHUNK_VALUES):
            text = ",".join(ordinals for _, _, ordinals in rows)
            yield ValueChunk(
                [value for value, _, _ in rows], [count for _, count, _ in rows], _parsed(text)
            )

    def changes(self, after: int, limit: int) -> AttributeChanges:
        """What the writes after a sequence number changed, about `limit` documents of it."""
        upto = statements.last_of_chunk(self._connection, after, limit)
        rows = self._connection.execute(
            "SELECT name, value, ordinal FROM attribute_values WHERE ordinal IN"
            " (SELECT ordinal FROM documents WHERE sequence > ? AND sequence <= ?)",
            (after, upto),
        ).fetchall()
        return AttributeChanges(
            upto,
            statements.written_between(self._connection, after, upto),
            statements.deleted_between(self._connection, after, upto),
            rows,
        )

    def _ordinals(self, source: str, parameters: Sequence[object]) -> Ordinals:
        # One long text is read four times faster than a row for each ordinal.
        statement = f"SELECT group_concat(ordinal) FROM {source}"
        (text,) = self._connection.execute(statement, parameters).fetchone()
        return _parsed(text or "")


def _parsed(text: str) -> Ordinals:
    return np.fromstring(text, dtype=np.int64, sep=",")
