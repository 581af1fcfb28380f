"""What a value of an attribute must be, in a document and as the operand of a filter."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from datetime import datetime

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.types import Attribute, AttributeScalar, AttributeType

MAX_STRING_BYTES = 1024
MAX_LIST_VALUES = 64
_LEAST_INTEGER, _GREATEST_INTEGER = -(2**63), 2**63 - 1

_PYTHON_TYPES: dict[AttributeType, type] = {
    AttributeType.STRING: str,
    AttributeType.INTEGER: int,
    AttributeType.DOUBLE: float,
    AttributeType.BOOLEAN: bool,
    AttributeType.TIMESTAMP: datetime,
}


def check_value(value: Attribute, kind: AttributeType, path: str) -> None:
    """Raises InvalidFieldError if a document's attribute of that type cannot have the value."""
    if kind is not AttributeType.STRING_LIST:
        _check_scalar(value, kind, path)
        return
    if not isinstance(value, tuple):
        raise InvalidFieldError(
            path, f"is of type {_named(value)}, the attribute of type string_list"
        )
    if len(value) > MAX_LIST_VALUES:
        raise TooLargeError(path, f"has {len(value)} values: give at most {MAX_LIST_VALUES}")
    for position, entry in enumerate(value):
        _check_scalar(entry, AttributeType.STRING, f"{path}[{position}]")


def check_operand(value: AttributeScalar, kind: AttributeType, path: str) -> None:
    """Raises InvalidFieldError if a filter over that type cannot have the operand."""
    _check_scalar(value, AttributeType.STRING if kind is AttributeType.STRING_LIST else kind, path)


def check_text(text: str, path: str) -> bytes:
    """The text as UTF-8. Raises InvalidFieldError for lone surrogates, which have no UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidFieldError(
            path, f"is not valid Unicode at character {error.start}: a lone surrogate"
        ) from None


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause that names the nearest known name; for none known, says so."""
    names = list(known)
    if not names:
        return "the collection has none"
    (match,) = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return f"did you mean {match!r}?"


def _check_scalar(value: Attribute, kind: AttributeType, path: str) -> None:
    if type(value) is not _PYTHON_TYPES[kind] and not (
        kind is AttributeType.TIMESTAMP and isinstance(value, datetime)
    ):
        raise InvalidFieldError(path, f"is of type {_named(value)}, the attribute of type {kind}")
    if isinstance(value, str) and len(check_text(value, path)) > MAX_STRING_BYTES:
        raise TooLargeError(path, f"is longer than {MAX_STRING_BYTES} bytes")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidFieldError(path, f"is {value}: give a finite value")
    if isinstance(value, int) and not _LEAST_INTEGER <= value <= _GREATEST_INTEGER:
        raise InvalidFieldError(path, f"is {value}: give a signed 64-bit integer")


def _named(value: Attribute) -> str:
    if isinstance(value, tuple):
        return "string_list"
    kinds = {kind: str(name) for name, kind in _PYTHON_TYPES.items()}
    return kinds.get(type(value), type(value).__name__)
