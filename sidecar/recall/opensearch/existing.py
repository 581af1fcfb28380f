"""An index that exists and that others write: a mapping says where it keeps what is asked for.

Its own analyzers read the query. Text fields and the vector are read from the documents' source, so
their paths are those of the source; the path of a string attribute may be that of a keyword below
it ("brand.keyword").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from sidecar.errors import InvalidFieldError
from sidecar.recall.opensearch.index import VECTOR, Stored
from sidecar.recall.opensearch.layout import ATTRIBUTES, FIELDS, to_scalar
from sidecar.recall.opensearch.queries import Query
from sidecar.recall.remote import RemoteRecord
from sidecar.recall.vectors import normalised
from sidecar.storage.rows import from_microseconds
from sidecar.types import (
    Attribute,
    AttributeScalar,
    AttributeType,
    Backend,
    Document,
    Schema,
)

COSINE = "cosinesimil"
# Integers of the contract; an unsigned_long may be beyond.
LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**63 - 1
# The types that a field of the index may have for an attribute.
_ACCEPTED = {
    AttributeType.STRING: ("keyword",),
    AttributeType.STRING_LIST: ("keyword",),
    AttributeType.INTEGER: ("long", "integer", "short", "byte", "unsigned_long"),
    AttributeType.DOUBLE: ("double", "float", "half_float", "scaled_float"),
    AttributeType.BOOLEAN: ("boolean",),
    AttributeType.TIMESTAMP: ("date", "date_nanos"),
}
_TEXTS = ("text", "match_only_text", "keyword", "search_as_you_type")


class MappedLayout:
    """See Layout."""

    def __init__(self, schema: Schema, backend: Backend) -> None:
        self.living: Query = {"match_all": {}}
        self.sort_field: str | None = None
        self._paths = {each.name: each.path for each in backend.mapping}
        self.vector_field = self._paths.get(VECTOR)
        self._schema = schema
        self._types = schema.attribute_types()

    def path(self, attribute: str) -> str:
        """See AttributePlaces."""
        return self._paths[attribute]

    def operand(self, attribute: str, value: AttributeScalar) -> object:
        """See AttributePlaces."""
        return value.isoformat() if isinstance(value, datetime) else value

    def value(self, attribute: str, key: str | int | float) -> AttributeScalar | None:
        """See Layout. Dates are counted by their milliseconds."""
        kind = self._types[attribute]
        if kind is AttributeType.TIMESTAMP and not isinstance(key, str):
            return _from_milliseconds(key)
        return None if kind is AttributeType.INTEGER and not _fits(key) else to_scalar(key, kind)

    def text_query(self, query: str, weights: Mapping[str, float]) -> Query | None:
        """See Layout. The sum over fields of weight times BM25 in that field."""
        matches = [
            {"match": {self._paths[f.name]: {"query": query, "boost": weights.get(f.name, 1.0)}}}
            for f in self._schema.text_fields
            if weights.get(f.name, 1.0) > 0.0
        ]
        return {"bool": {"should": matches, "minimum_should_match": 1}}

    def sources(self, parts: Sequence[str]) -> list[str]:
        """See Layout."""
        wanted: list[str] = []
        if FIELDS in parts:
            wanted += [self._paths[field.name] for field in self._schema.text_fields]
        if ATTRIBUTES in parts:
            wanted += [p for name in self._types for p in _alternatives(self._paths[name])]
        if VECTOR in parts and self.vector_field is not None:
            wanted.append(self.vector_field)
        return wanted

    def read(self, doc_id: str, source: Mapping[str, Any]) -> Stored:
        """See Layout. What is not of its declared type counts as absent."""
        fields = {f.name: _text(source, self._paths[f.name]) for f in self._schema.text_fields}
        attributes: dict[str, Attribute] = {}
        for name, kind in self._types.items():
            value = to_attribute(_first(source, _alternatives(self._paths[name])), kind)
            if value is not None:
                attributes[name] = value
        vector = self._vector(source)
        kept = {name: text for name, text in fields.items() if text}
        return Stored(doc_id, 0, Document(doc_id, kept, attributes, vector))

    def _vector(self, source: Mapping[str, Any]) -> Sequence[float] | None:
        values = _at(source, self.vector_field) if self.vector_field else None
        if not isinstance(values, list):
            return None
        unit: list[float] = normalised(np.asarray([values], np.float64))[0].tolist()
        return unit


def check_mapping(record: RemoteRecord, mappings: Mapping[str, Any]) -> None:
    """Raises InvalidFieldError unless the mapping names every field of the schema once, and where
    the index has a field of that type."""
    schema, mapping = record.schema, record.backend.mapping
    types = schema.attribute_types()
    names = [field.name for field in schema.text_fields]
    known = {*names, *types, VECTOR}
    seen: set[str] = set()
    for position, each in enumerate(mapping):
        here = f"backend.mapping[{position}]"
        if each.name not in known or each.name in seen:
            what = "is named twice" if each.name in seen else "is no field of the schema"
            raise InvalidFieldError(f"{here}.name", f"{each.name[:80]!r} {what}")
        seen.add(each.name)
        field = _field(mappings, each.path)
        if field is None:
            raise InvalidFieldError(
                f"{here}.path", f"index {record.backend.index!r} has no field {each.path!r}"
            )
        if each.name == VECTOR:
            _check_vector(f"{here}.path", field, record)
        else:
            accepted = _ACCEPTED[types[each.name]] if each.name in types else _TEXTS
            _check_type(f"{here}.path", each.path, field, accepted)
    missing = [name for name in (*names, *types) if name not in seen]
    if missing:
        raise InvalidFieldError("backend.mapping", f"has no path for {', '.join(missing)}")


def to_attribute(value: object, kind: AttributeType) -> Attribute | None:
    """A value of a document's source as an attribute; None if it is none of that type."""
    if value is None:
        return None
    match kind:
        case AttributeType.STRING_LIST:
            values = value if isinstance(value, list) else [value]
            return tuple(str(each) for each in values if each is not None)
        case AttributeType.TIMESTAMP:
            return _moment(value)
        case AttributeType.DOUBLE if isinstance(value, int) and not isinstance(value, bool):
            return float(value)
    wanted = {
        AttributeType.STRING: str,
        AttributeType.INTEGER: int,
        AttributeType.DOUBLE: float,
        AttributeType.BOOLEAN: bool,
    }[kind]
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        return None
    assert isinstance(value, str | int | float | bool)
    return None if kind is AttributeType.INTEGER and not _fits(value) else value


def _fits(value: str | int | float) -> bool:
    return isinstance(value, str) or LEAST_INTEGER <= value <= MOST_INTEGER


def _moment(value: object) -> datetime | None:
    """In UTC, as OpenSearch takes a date without a zone."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _from_milliseconds(value)
    try:
        moment = datetime.fromisoformat(str(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _from_milliseconds(milliseconds: float) -> datetime | None:
    """None outside the years 1 to 9999."""
    try:
        return from_microseconds(round(milliseconds * 1000))
    except OverflowError:
        return None


def _check_type(here: str, path: str, field: Mapping[str, Any], accepted: Sequence[str]) -> None:
    kind = field.get("type", "object")
    if kind not in accepted:
        raise InvalidFieldError(
            here, f"{path!r} is of type {kind}; it has to be of {' or '.join(accepted)}"
        )


def _check_vector(here: str, field: Mapping[str, Any], record: RemoteRecord) -> None:
    _check_type(here, VECTOR, field, ("knn_vector",))
    space = field.get("space_type") or field.get("method", {}).get("space_type", "l2")
    if space != COSINE:
        raise InvalidFieldError(here, f"compares vectors by {space}; it has to be {COSINE}")
    identity = record.bi_encoder
    if identity is None:
        raise InvalidFieldError(here, "is of no use: the server has no bi-encoder")
    if field.get("dimension") != identity.dimensions:
        raise InvalidFieldError(
            here,
            f"has {field.get('dimension')} dimensions; {identity} has {identity.dimensions}",
        )


def _field(mappings: Mapping[str, Any], path: str) -> Mapping[str, Any] | None:
    """The mapping of a field, or of one below it ("brand.keyword")."""
    here: Mapping[str, Any] = mappings
    for part in path.split("."):
        below = {**here.get("properties", {}), **here.get("fields", {})}
        if part not in below:
            return None
        here = below[part]
    return here


def _alternatives(path: str) -> list[str]:
    """Where in the source the value of a field may be: a field below another has its value."""
    parent, _, _ = path.rpartition(".")
    return [path, parent] if parent else [path]


def _first(source: Mapping[str, Any], paths: Sequence[str]) -> object:
    found = (_at(source, path) for path in paths)
    return next((each for each in found if each is not None and not isinstance(each, dict)), None)


def _at(source: Mapping[str, Any], path: str) -> Any:
    """The value at a path, whose parts may be written as one name with dots."""
    if path in source:
        return source[path]
    head, _, rest = path.partition(".")
    below = source.get(head)
    return _at(below, rest) if rest and isinstance(below, Mapping) else None


def _text(source: Mapping[str, Any], path: str) -> str:
    value = _at(source, path)
    if isinstance(value, list):
        return "\n".join(str(each) for each in value)
    return "" if value is None else str(value)
