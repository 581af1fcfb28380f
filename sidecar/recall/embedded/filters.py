"""A checked filter as the set of documents that match, and as a tantivy query.

Both legs cut with the set (`matching`), which is exact; the lexical one, where that is faster,
lets tantivy cut beforehand with the query (`to_query`).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from typing import Protocol

import tantivy
from pyroaring import BitMap

from sidecar.storage.rows import RowValue, to_row_value
from sidecar.types import (
    AllOf,
    AnyOf,
    AttributeType,
    Equals,
    Filter,
    NoneOf,
    OneOf,
    Range,
)


def attribute_field(name: str) -> str:
    """The field of the lexical index that holds an attribute."""
    return f"attribute_{name}"


class Attributes(Protocol):
    """The attributes of a collection's documents as of one moment. The sets that it gives are not
    to be changed."""

    @property
    def documents(self) -> BitMap:
        """Ordinals of all documents."""

    def one_of(self, name: str, values: Sequence[RowValue]) -> BitMap:
        """Documents that have one of some values, at least one of them given."""

    def between(
        self,
        name: str,
        lower: RowValue | None,
        upper: RowValue | None,
        lower_inclusive: bool = True,
        upper_inclusive: bool = True,
    ) -> BitMap:
        """Documents that have a value within bounds; None is no bound."""

    def most_frequent(self, name: str, among: BitMap, limit: int) -> list[tuple[RowValue, int]]:
        """The values that most of some documents have, and how many, ties by value."""


def attribute_names(filter: Filter) -> frozenset[str]:
    """The attributes that a filter asks for."""
    match filter:
        case AllOf(filters) | AnyOf(filters) | NoneOf(filters):
            return frozenset().union(*map(attribute_names, filters))
        case Equals(name) | OneOf(name) | Range(name):
            return frozenset((name,))


def matching(filter: Filter, attributes: Attributes) -> BitMap:
    """Ordinals of the documents that match a checked filter; not to be changed."""
    match filter:
        case AllOf(filters):
            return reduce(operator.and_, (matching(each, attributes) for each in filters))
        case AnyOf(filters):
            return reduce(operator.or_, (matching(each, attributes) for each in filters))
        case NoneOf(filters):
            excluded = (matching(each, attributes) for each in filters)
            return reduce(operator.sub, excluded, attributes.documents)
        case Equals(name, value):
            return attributes.one_of(name, [to_row_value(value)])
        case OneOf(name, values):
            return attributes.one_of(name, [to_row_value(value) for value in values])
        case Range(name, lower, upper, lower_inclusive, upper_inclusive):
            return attributes.between(
                name,
                None if lower is None else to_row_value(lower),
                None if upper is None else to_row_value(upper),
                lower_inclusive,
                upper_inclusive,
            )


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
                schema, attribute_field(attribute), to_row_value(value), "basic"
            )
        case OneOf(attribute, values):
            return tantivy.Query.term_set_query(
                schema, attribute_field(attribute), [to_row_value(value) for value in values]
            )
        case Range():
            return _range_query(filter, schema, types[filter.attribute])


def _range_query(range: Range, schema: tantivy.Schema, kind: AttributeType) -> tantivy.Query:
    return tantivy.Query.range_query(
        schema,
        attribute_field(range.attribute),
        tantivy.FieldType.Float if kind is AttributeType.DOUBLE else tantivy.FieldType.Integer,
        None if range.lower is None else to_row_value(range.lower),
        None if range.upper is None else to_row_value(range.upper),
        # tantivy takes a missing bound as inclusive and refuses to hear otherwise.
        range.lower_inclusive or range.lower is None,
        range.upper_inclusive or range.upper is None,
    )


def _boolean(occur: tantivy.Occur, queries: Sequence[tantivy.Query]) -> tantivy.Query:
    return tantivy.Query.boolean_query([(occur, query) for query in queries])
