"""collection.proto: schemas in and out. Names and counts are checked in recall."""

from __future__ import annotations

from sidecar.errors import InvalidFieldError
from sidecar.recall.analyzers import analyzer_names
from sidecar.recall.collection import Description
from sidecar.service.messages.checks import check_bytes, check_count
from sidecar.types import (
    AttributeField,
    AttributeType,
    Backend,
    FieldMapping,
    Schema,
    TextField,
)
from sidecar.v1 import collection_pb2, filter_pb2, maintenance_pb2


def _enum_name(analyzer: str) -> str:
    return f"ANALYZER_{analyzer.upper()}"


ANALYZERS = {collection_pb2.Analyzer.Value(_enum_name(name)): name for name in analyzer_names()} | {
    collection_pb2.ANALYZER_UNSPECIFIED: TextField("").analyzer
}
ATTRIBUTE_TYPES = {
    filter_pb2.ATTRIBUTE_TYPE_STRING: AttributeType.STRING,
    filter_pb2.ATTRIBUTE_TYPE_INTEGER: AttributeType.INTEGER,
    filter_pb2.ATTRIBUTE_TYPE_DOUBLE: AttributeType.DOUBLE,
    filter_pb2.ATTRIBUTE_TYPE_BOOLEAN: AttributeType.BOOLEAN,
    filter_pb2.ATTRIBUTE_TYPE_TIMESTAMP: AttributeType.TIMESTAMP,
    filter_pb2.ATTRIBUTE_TYPE_STRING_LIST: AttributeType.STRING_LIST,
}
MAX_BACKEND_BYTES = 64
MAX_INDEX_BYTES = 255
MAX_PATH_BYTES = 512
# Text fields, attributes and the vector.
MAX_MAPPING = 16 + 64 + 1
_ATTRIBUTE_TYPE_VALUES = {type_: value for value, type_ in ATTRIBUTE_TYPES.items()}


def to_schema(message: collection_pb2.CreateCollectionRequest) -> Schema:
    """The schema of a request; the default one if it sent none."""
    if not message.HasField("schema"):
        return Schema()
    return Schema(
        tuple(
            _to_text_field(one, f"schema.text_fields[{index}]")
            for index, one in enumerate(message.schema.text_fields)
        ),
        tuple(
            _to_attribute_field(one, f"schema.attributes[{index}]")
            for index, one in enumerate(message.schema.attributes)
        ),
    )


def _to_text_field(message: collection_pb2.TextField, field: str) -> TextField:
    if message.analyzer not in ANALYZERS:
        raise InvalidFieldError(
            f"{field}.analyzer",
            f"{message.analyzer} is unknown: give "
            + " or ".join(map(_enum_name, analyzer_names())),
        )
    return TextField(message.name, ANALYZERS[message.analyzer])


def _to_attribute_field(message: collection_pb2.AttributeField, field: str) -> AttributeField:
    if message.type not in ATTRIBUTE_TYPES:
        names = ", ".join(f"ATTRIBUTE_TYPE_{type_.name}" for type_ in AttributeType)
        raise InvalidFieldError(f"{field}.type", f"is not set or unknown: give one of {names}")
    return AttributeField(message.name, ATTRIBUTE_TYPES[message.type])


def from_schema(schema: Schema) -> collection_pb2.Schema:
    """The message of a schema."""
    return collection_pb2.Schema(
        text_fields=[
            collection_pb2.TextField(name=one.name, analyzer=_enum_name(one.analyzer))
            for one in schema.text_fields
        ],
        attributes=[
            collection_pb2.AttributeField(name=one.name, type=_ATTRIBUTE_TYPE_VALUES[one.type])
            for one in schema.attributes
        ],
    )


def to_backend(
    message: collection_pb2.CreateCollectionRequest | maintenance_pb2.MigrateCollectionRequest,
) -> Backend | None:
    """Where a collection is to be kept; None: in the server's own folder."""
    if not message.HasField("backend"):
        return None
    backend = message.backend
    if not backend.name:
        raise InvalidFieldError("backend.name", "is empty: name one of the server's [backends]")
    check_bytes("backend.name", backend.name, MAX_BACKEND_BYTES)
    check_bytes("backend.index", backend.index, MAX_INDEX_BYTES)
    if backend.mapping:
        check_count("backend.mapping", len(backend.mapping), MAX_MAPPING, "fields")
        if not backend.index:
            raise InvalidFieldError("backend.index", "is empty: name the index that is mapped")
    mapping = tuple(
        _to_field_mapping(one, f"backend.mapping[{number}]")
        for number, one in enumerate(backend.mapping)
    )
    return Backend(backend.name, backend.index, mapping, backend.read_only)


def _to_field_mapping(message: collection_pb2.FieldMapping, field: str) -> FieldMapping:
    for name, text in (("name", message.name), ("path", message.path)):
        if not text:
            raise InvalidFieldError(f"{field}.{name}", "is empty")
        check_bytes(f"{field}.{name}", text, MAX_PATH_BYTES)
    return FieldMapping(message.name, message.path)


def from_backend(backend: Backend) -> collection_pb2.Backend:
    mapping = [collection_pb2.FieldMapping(name=m.name, path=m.path) for m in backend.mapping]
    return collection_pb2.Backend(
        name=backend.name, index=backend.index, mapping=mapping, read_only=backend.read_only
    )


def from_description(description: Description) -> collection_pb2.Collection:
    """The message of a collection."""
    return collection_pb2.Collection(
        name=description.name,
        schema=from_schema(description.schema),
        bi_encoder=description.bi_encoder,
        bi_encoder_revision=description.bi_encoder_revision,
        dimensions=description.dimensions,
        document_count=description.document_count,
        incarnation=description.incarnation,
        backend=from_backend(description.backend) if description.backend else None,
    )
