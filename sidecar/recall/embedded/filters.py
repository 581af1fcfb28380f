"""A checked filter as a tantivy query, and as ordinals.

The lexical leg cuts with the query (`to_query`), the dense leg with the ordinals (`matching`) that
SQL gives for each condition. Both are here, side by side, so that the legs agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import numpy.typing as npt
import tantivy

from sidecar.storage.attributes import AttributeReader
from sidecar.storage.rows import RowValue, to_row_values
from sidecar.types import (
    AllOf,
    AnyOf,
    AttributeScalar,
    AttributeType,
    Equals,
    Filter,
    NoneOf,
    OneOf,
    Range,
)

Ordinals = npt.NDArray[np.int64]


def attribute_field(name: str) -> str:
    """The field of the lexical index that holds an attribute."""
    return f"attribute_{name}"


def matching(filter: Filter, reader: AttributeReader) -> Ordinals:
    """Ordinals, sorted, of the documents that match a checked filter."""
    match filter:
        case AllOf(filters):
            return reduce(_intersection, (matching(each, reader) for each in filters))
        case AnyOf(filters):
            return _union([matching(each, reader) for each in filters])
        case NoneOf(filters):
            excluded = _union([matching(each, reader) for each in filters])
            return np.setdiff1d(reader.all_ordinals(), excluded, assume_unique=True)
        case Equals() | OneOf() | Range():
            # A string list may match with several of its strings.
            return np.unique(reader.ordinals_where(*to_sql(filter)))


def to_sql(condition: Equals | OneOf | Range) -> tuple[str, list[RowValue]]:
    """A checked condition as SQL over (name, value) of one attribute row, and its parameters."""
    name = condition.attribute
    match condition:
        case Equals(_, value):
            return "name = ? AND value = ?", [name, _row_value(value)]
        case OneOf(_, values):
            marks = ", ".join("?" * len(values))
            return f"name = ? AND value IN ({marks})", [name, *map(_row_value, values)]
        case Range():
            return _range_sql(condition)


def to_query(
    filter: Filter, schema: tantivy.Schema, types: dict[str, AttributeType]
) -> tantivy.Query:
    """A checked filter as a tantivy query. Its score means nothing."""
    match filter:
        case AllOf(filters):
            return _boolean(tantivy.Occur.Must, [to_query(f, schema, types) for f in filters])
        case AnyOf(filters):
            return _boolean(tantivy.Occur.Should, [to_query(f, schema, types) for f in filters])
        case NoneOf(filters):
            excluded = [(tantivy.Occur.MustNot, to_query(f, schema, types)) for f in filters]
            everything = (tantivy.Occur.Must, tantivy.Query.all_query())
            return tantivy.Query.boolean_query([everything, *excluded])
        case Equals(attribute, value):
            return tantivy.Query.term_query(
                schema, attribute_field(attribute), _row_value(value), "basic"
            )
        case OneOf(attribute, values):
            return tantivy.Query.term_set_query(
                schema, attribute_field(attribute), [_row_value(value) for value in values]
            )
        case Range():
            return _range_query(filter, schema, types[filter.attribute])


def _range_query(range: Range, schema: tantivy.Schema, kind: AttributeType) -> tantivy.Query:
    return tantivy.Query.range_query(
        schema,
        attribute_field(range.attribute),
        tantivy.FieldType.Float if kind is AttributeType.DOUBLE else tantivy.FieldType.Integer,
        None if range.lower is None else _row_value(range.lower),
        None if range.upper is None else _row_value(range.upper),
        # tantivy takes a missing bound as inclusive and refuses to hear otherwise.
        range.lower_inclusive or range.lower is None,
        range.upper_inclusive or range.upper is None,
    )


def _range_sql(range: Range) -> tuple[str, list[RowValue]]:
    text = "name = ?"
    parameters: list[RowValue] = [range.attribute]
    if range.lower is not None:
        text += " AND value >= ?" if range.lower_inclusive else " AND value > ?"
        parameters.append(_row_value(range.lower))
    if range.upper is not None:
        text += " AND value <= ?" if range.upper_inclusive else " AND value < ?"
        parameters.append(_row_value(range.upper))
    return text, parameters


def _intersection(first: Ordinals, second: Ordinals) -> Ordinals:
    return np.intersect1d(first, second, assume_unique=True)


def _union(several: Sequence[Ordinals]) -> Ordinals:
    return np.unique(np.concatenate(several))


def _boolean(occur: tantivy.Occur, queries: Sequence[tantivy.Query]) -> tantivy.Query:
    return tantivy.Query.boolean_query([(occur, query) for query in queries])


def _row_value(value: AttributeScalar) -> RowValue:
    (row_value,) = to_row_values(value)
    return row_value
