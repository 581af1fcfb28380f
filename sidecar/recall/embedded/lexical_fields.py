"""Which fields the lexical index of a schema has."""

from __future__ import annotations

from collections.abc import Mapping

import tantivy

from sidecar.recall.embedded.filters import attribute_field
from sidecar.types import AttributeType, Schema


def text_field(analyzer_name: str) -> str:
    """The field of the index that holds the terms of an analyzer."""
    return f"text_{analyzer_name}"


def fields_by_analyzer(schema: Schema) -> dict[str, list[str]]:
    """The text fields of each analyzer, by its name."""
    fields: dict[str, list[str]] = {}
    for field in schema.text_fields:
        fields.setdefault(field.analyzer, []).append(field.name)
    return fields


def own_fields(schema: Schema) -> dict[str, str]:
    """The field of the index of each text field that is not the only one of its analyzer."""
    groups = fields_by_analyzer(schema).values()
    return {field: f"field_{field}" for group in groups if len(group) > 1 for field in group}


def to_index_schema(schema: Schema, own_fields: Mapping[str, str]) -> tantivy.Schema:
    """The fields: of each analyzer, of each text field in `own_fields`, of each attribute."""
    builder = tantivy.SchemaBuilder()
    # Signed, since tantivy-py deletes by a signed term: on an unsigned field it deletes nothing.
    builder.add_integer_field("ordinal", indexed=True, fast=True)
    builder.add_integer_field("sequence", fast=True)
    builder.add_integer_field("watermark", fast=True)
    for name in (*map(text_field, fields_by_analyzer(schema)), *own_fields.values()):
        builder.add_text_field(name, tokenizer_name="whitespace", index_option="freq")
    for attribute in schema.attributes:
        name = attribute_field(attribute.name)
        match attribute.type:
            case AttributeType.STRING | AttributeType.STRING_LIST:
                builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
            case AttributeType.DOUBLE:
                builder.add_float_field(name, indexed=True, fast=True)
            case AttributeType.INTEGER | AttributeType.BOOLEAN | AttributeType.TIMESTAMP:
                builder.add_integer_field(name, indexed=True, fast=True)
    return builder.build()
