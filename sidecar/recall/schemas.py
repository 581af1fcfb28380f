"""What a schema and a collection's name must be; the limits are those of collection.proto."""

from __future__ import annotations

import re
from collections import Counter

from sidecar.errors import InvalidFieldError
from sidecar.recall.analyzers import analyzer_names
from sidecar.types import Schema

MAX_TEXT_FIELDS = 16
MAX_ATTRIBUTES = 64
_COLLECTION_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def check_name(name: str, field: str = "name") -> None:
    """Raises InvalidFieldError if no collection may have that name."""
    if not _COLLECTION_NAME.fullmatch(name):
        raise InvalidFieldError(
            field,
            f"is {name[:80]!r}: give 1 to 64 characters, a lower-case letter, then lower-case "
            'letters, digits, "_" or "-"',
        )


def check_schema(schema: Schema, path: str = "schema") -> None:
    """Raises InvalidFieldError naming the field at fault."""
    _check_count(f"{path}.text_fields", len(schema.text_fields), 1, MAX_TEXT_FIELDS)
    _check_count(f"{path}.attributes", len(schema.attributes), 0, MAX_ATTRIBUTES)
    _check_names(f"{path}.text_fields", [field.name for field in schema.text_fields])
    _check_names(f"{path}.attributes", [attribute.name for attribute in schema.attributes])
    for position, field in enumerate(schema.text_fields):
        if field.analyzer not in analyzer_names():
            known = ", ".join(analyzer_names())
            raise InvalidFieldError(
                f"{path}.text_fields[{position}].analyzer",
                f"is {field.analyzer!r}: give one of {known}",
            )


def _check_count(path: str, count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        raise InvalidFieldError(path, f"has {count} entries: give {least} to {most}")


def _check_names(path: str, names: list[str]) -> None:
    counts = Counter(names)
    for position, name in enumerate(names):
        if not _FIELD_NAME.fullmatch(name):
            raise InvalidFieldError(
                f"{path}[{position}].name",
                f'is {name[:80]!r}: give 1 to 64 characters, a letter, then letters, digits or "_"',
            )
        if counts[name] > 1:
            first = names.index(name)
            second = names.index(name, first + 1)
            raise InvalidFieldError(
                f"{path}[{second}].name", f"is {name!r}, as is {path}[{first}].name"
            )
