"""collection.proto: schemas in and out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.service.messages.checks import check_count, shorten
from sidecar.types import AttributeField, AttributeType, Schema, TextField
from sidecar.v1 import collection_pb2, filter_pb2

MAX_TEXT_FIELDS = 16
MAX_ATTRIBUTES = 64
_COLLECTION_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}\Z")
ANALYZERS = {
    collection_pb2.ANALYZER_UNSPECIFIED: "english",
    collection_pb2.ANALYZER_ENGLISH: "english",
    collection_pb2.ANALYZER_CHINESE: "chinese",
}
ATTRIBUTE_TYPES = {
    filter_pb2.ATTRIBUTE_TYPE_STRING: AttributeType.STRING,
    filter_pb2.ATTRIBUTE_TYPE_INTEGER: AttributeType.INTEGER,
    filter_pb2.ATTRIBUTE_TYPE_DOUBLE: AttributeType.DOUBLE,
    filter_pb2.ATTRIBUTE_TYPE_BOOLEAN: AttributeType.BOOLEAN,
    filter_pb2.ATTRIBUTE_TYPE_TIMESTAMP: AttributeType.TIMESTAMP,
    filter_pb2.ATTRIBUTE_TYPE_STRING_LIST: AttributeType.STRING_LIST,
}
_ANALYZER_VALUES = {name: value for value, name in ANALYZERS.items()}
_ATTRIBUTE_TYPE_VALUES = {type_: value for value, type_ in ATTRIBUTE_TYPES.items()}


def check_new_name(field: str, name: str) -> None:
    """Raises unless a collection may be given this name."""
    if not _COLLECTION_NAME.match(name):
        raise InvalidFieldError(
            field,
            f"{shorten(name, 80)!r} is not a name: give a lower-case letter, then up to 63"
            ' lower-case letters, digits, "_" or "-"',
        )


def to_schema(message: collection_pb2.CreateCollectionRequest) -> Schema:
    """The schema of a request; the default one if it sent none."""
    if not message.HasField("schema"):
        return Schema()
    schema = message.schema
    check_count("schema.text_fields", len(schema.text_fields), MAX_TEXT_FIELDS, "text fields")
    if len(schema.attributes) > MAX_ATTRIBUTES:
        raise TooLargeError(
            "schema.attributes",
            f"has {len(schema.attributes):,} attributes; at most {MAX_ATTRIBUTES} are accepted",
        )
    _check_names(schema.text_fields, schema.attributes)
    return Schema(
        tuple(
            TextField(text_field.name, _to_analyzer(text_field.analyzer, index))
            for index, text_field in enumerate(schema.text_fields)
        ),
        tuple(
            AttributeField(attribute.name, _to_type(attribute.type, index))
            for index, attribute in enumerate(schema.attributes)
        ),
    )


def _check_names(
    text_fields: Sequence[collection_pb2.TextField],
    attributes: Sequence[collection_pb2.AttributeField],
) -> None:
    paths = [f"schema.text_fields[{index}].name" for index in range(len(text_fields))]
    paths += [f"schema.attributes[{index}].name" for index in range(len(attributes))]
    seen: set[str] = set()
    for path, named in zip(paths, [*text_fields, *attributes], strict=True):
        if not _FIELD_NAME.match(named.name):
            raise InvalidFieldError(
                path,
                f"{shorten(named.name, 80)!r} is not a name: give a letter, then up to 63"
                ' letters, digits or "_"',
            )
        if named.name in seen:
            raise InvalidFieldError(path, f"{named.name!r} is used twice in the schema")
        seen.add(named.name)


def _to_analyzer(value: int, index: int) -> str:
    for known, name in ANALYZERS.items():
        if known == value:
            return name
    raise InvalidFieldError(
        f"schema.text_fields[{index}].analyzer",
        f"{value} is unknown: give ANALYZER_ENGLISH or ANALYZER_CHINESE",
    )


def _to_type(value: int, index: int) -> AttributeType:
    for known, type_ in ATTRIBUTE_TYPES.items():
        if known == value:
            return type_
    names = ", ".join(f"ATTRIBUTE_TYPE_{type_.name}" for type_ in AttributeType)
    raise InvalidFieldError(
        f"schema.attributes[{index}].type", f"is not set or unknown: give one of {names}"
    )


def from_schema(schema: Schema) -> collection_pb2.Schema:
    """The message of a schema."""
    return collection_pb2.Schema(
        text_fields=[
            collection_pb2.TextField(name=one.name, analyzer=_ANALYZER_VALUES[one.analyzer])
            for one in schema.text_fields
        ],
        attributes=[
            collection_pb2.AttributeField(name=one.name, type=_ATTRIBUTE_TYPE_VALUES[one.type])
            for one in schema.attributes
        ],
    )
