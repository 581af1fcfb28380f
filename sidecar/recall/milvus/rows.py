"""Documents as rows of a Milvus collection, and back.

What is returned is kept as JSON, what is searched and filtered by in columns of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.errors import TooLargeError
from sidecar.recall.milvus.expressions import DOC_ID, SEQUENCE, attribute_field
from sidecar.recall.milvus.terms import document_terms
from sidecar.storage.rows import (
    attributes_from_json,
    fields_from_json,
    to_json,
    to_row_values,
)
from sidecar.types import Attribute, AttributeType, Document, Schema

FIELDS, ATTRIBUTES, TERMS, LEXICAL, VECTOR = "fields", "attributes", "terms", "lexical", "vector"
# What a VARCHAR of Milvus holds at most.
MAX_STRING_BYTES = 65_535

Row = dict[str, Any]
Vector = npt.NDArray[np.float32]


def to_rows(documents: Sequence[Document], schema: Schema) -> list[Row]:
    """Rows of checked documents, without sequence numbers and vectors.

    Raises TooLargeError naming the document that Milvus cannot keep ("documents[3].fields").
    """
    rows = [_to_row(document, schema) for document in documents]
    for position, row in enumerate(rows):
        _check_fits(row, f"documents[{position}]")
    return rows


def to_document(row: Mapping[str, Any], schema: Schema) -> Document:
    """The document of a row, with what of it was asked for."""
    vector = to_vector(row).tolist() if VECTOR in row else None
    return Document(
        row[DOC_ID], to_fields(row), to_attributes(row, schema), vector, version=row[SEQUENCE]
    )


def to_fields(row: Mapping[str, Any]) -> dict[str, str]:
    """The text fields of a row."""
    return fields_from_json(row[FIELDS].encode())


def to_attributes(row: Mapping[str, Any], schema: Schema) -> dict[str, Attribute]:
    """The attributes of a row."""
    return attributes_from_json(row[ATTRIBUTES].encode(), schema.attribute_types())


def to_vector(row: Mapping[str, Any]) -> Vector:
    """The vector of a row, float32 (dimensions,)."""
    return np.asarray(row[VECTOR], dtype=np.float32)


def _to_row(document: Document, schema: Schema) -> Row:
    types = schema.attribute_types()
    row: Row = {
        DOC_ID: document.doc_id,
        FIELDS: to_json(document.fields),
        ATTRIBUTES: to_json(document.attributes),
        TERMS: document_terms(document.fields, schema),
    }
    for name, kind in types.items():
        value = document.attributes.get(name)
        row[attribute_field(name)] = None if value is None else _to_column(value, kind)
    return row


def _to_column(value: Attribute, kind: AttributeType) -> object:
    if kind is AttributeType.BOOLEAN:
        return value
    values = to_row_values(value)
    return values if kind is AttributeType.STRING_LIST else values[0]


def _check_fits(row: Row, path: str) -> None:
    """Milvus' own refusal would name no document."""
    for column, field, what in (
        (FIELDS, "fields", "the text, as JSON,"),
        (TERMS, "fields", "the terms of the text"),
        (ATTRIBUTES, "attributes", "the values, as JSON,"),
    ):
        size = len(row[column].encode())
        if size > MAX_STRING_BYTES:
            raise TooLargeError(
                f"{path}.{field}",
                f"are too long for Milvus: {what} would take {size} bytes of the "
                f"{MAX_STRING_BYTES} it has: split the document",
            )
