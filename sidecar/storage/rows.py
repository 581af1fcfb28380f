"""How documents are written into rows and read back: fields, attributes and vectors.

Attributes are kept twice: as JSON, to be returned, and as rows (name, value), to be filtered by.
In both a timestamp is its microseconds since 1970 (UTC); in the rows a boolean is 0 or 1 and a
string list is several rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from sidecar.types import (
    Attribute,
    AttributeField,
    AttributeScalar,
    AttributeType,
    Schema,
    TextField,
)

RowValue = str | int | float
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970; a time without a zone is taken as UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The time, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def to_row_values(value: Attribute) -> list[RowValue]:
    """An attribute's values as they are filtered by: one, or one for each string of a list."""
    if isinstance(value, tuple):
        return sorted(set(value))
    if isinstance(value, datetime):
        return [to_microseconds(value)]
    if isinstance(value, bool):
        return [int(value)]
    # -0.0 and 0.0 are one value to a caller, and two to an index.
    return [value + 0.0 if isinstance(value, float) else value]


def to_row_value(value: AttributeScalar) -> RowValue:
    """A single value, likewise."""
    (row_value,) = to_row_values(value)
    return row_value


def from_row_value(value: RowValue, kind: AttributeType) -> AttributeScalar:
    """A value, or one of a string list, as a caller knows it."""
    if isinstance(value, int):
        if kind is AttributeType.TIMESTAMP:
            return from_microseconds(value)
        if kind is AttributeType.BOOLEAN:
            return bool(value)
    return value


def to_json(values: Mapping[str, Attribute] | Mapping[str, str]) -> str:
    """Fields or attributes as JSON."""
    return json.dumps(values, ensure_ascii=False, default=_to_json_value, separators=(",", ":"))


def fields_from_json(text: bytes) -> dict[str, str]:
    """Fields out of JSON."""
    fields: dict[str, str] = json.loads(text.decode())
    return fields


def attributes_from_json(text: bytes, types: Mapping[str, AttributeType]) -> dict[str, Attribute]:
    """Attributes out of JSON, of their declared types."""
    values = json.loads(text.decode())
    return {name: _attribute(value, types[name]) for name, value in values.items()}


def to_blob(vector: npt.NDArray[np.float32]) -> bytes:
    """A vector as little-endian float32."""
    return vector.astype("<f4").tobytes()


def from_blob(blob: bytes) -> npt.NDArray[np.float32]:
    """A vector out of its bytes, float32 (dimensions,)."""
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)


def from_blobs(blobs: Sequence[bytes], dimensions: int) -> npt.NDArray[np.float32]:
    """Vectors out of their bytes, float32 (vectors, dimensions)."""
    joined = np.frombuffer(b"".join(blobs), dtype="<f4").astype(np.float32)
    return joined.reshape(len(blobs), dimensions)


def schema_to_json(schema: Schema) -> str:
    """A schema as JSON."""
    return json.dumps(
        {
            "text_fields": [[field.name, field.analyzer] for field in schema.text_fields],
            "attributes": [[attribute.name, attribute.type] for attribute in schema.attributes],
        }
    )


def schema_from_json(text: str) -> Schema:
    """A schema out of JSON."""
    tree = json.loads(text)
    return Schema(
        text_fields=tuple(TextField(name, analyzer) for name, analyzer in tree["text_fields"]),
        attributes=tuple(
            AttributeField(name, AttributeType(kind)) for name, kind in tree["attributes"]
        ),
    )


def _to_json_value(value: object) -> object:
    if isinstance(value, datetime):
        return to_microseconds(value)
    raise TypeError(f"no attribute is of type {type(value).__name__}")


def _attribute(value: object, kind: AttributeType) -> Attribute:
    if kind is AttributeType.TIMESTAMP and isinstance(value, int):
        return from_microseconds(value)
    if isinstance(value, list):
        return tuple(value)
    assert isinstance(value, str | int | float | bool)
    return value
