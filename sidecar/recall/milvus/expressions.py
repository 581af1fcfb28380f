"""A checked filter as a Milvus expression.

A condition on a null is neither true nor false there, and so is its negation; a document without
the attribute matches no condition and is matched by none_of. So negation is pushed down to the
conditions, where it lets nulls through: not (a == 1) is written (a is null or not (a == 1)).

Grammar: milvus-io/milvus, internal/parser/planparserv2/Plan.g4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sidecar.storage.rows import to_microseconds
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

DOC_ID = "doc_id"
SEQUENCE = "sequence"
# Every sequence number is above 0.
_NEVER = f"{SEQUENCE} < 0"
_LEAST, _GREATEST = -(2**63), 2**63 - 1
_INTEGERS = (AttributeType.INTEGER, AttributeType.TIMESTAMP)
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})

Types = Mapping[str, AttributeType]


def attribute_field(name: str) -> str:
    """The field of the Milvus collection that holds an attribute."""
    return f"attribute_{name}"


def to_expression(filter: Filter, types: Types) -> str:
    """A checked filter; `types` are those of the schema's attributes by name."""
    return _matching(filter, types)


def of_doc_ids(doc_ids: Iterable[str]) -> str:
    """The documents of some ids."""
    return f"{DOC_ID} in [{', '.join(map(quoted, doc_ids))}]"


def quoted(text: str) -> str:
    """A string literal."""
    return f'"{text.translate(_ESCAPES)}"'


def _matching(filter: Filter, types: Types) -> str:
    match filter:
        case AllOf(filters):
            return _joined(" and ", [_matching(each, types) for each in filters])
        case AnyOf(filters):
            return _joined(" or ", [_matching(each, types) for each in filters])
        case NoneOf(filters):
            return _joined(" and ", [_not_matching(each, types) for each in filters])
        case Equals() | OneOf() | Range():
            return f"({_condition(filter, types)})"


def _not_matching(filter: Filter, types: Types) -> str:
    match filter:
        case AllOf(filters):
            return _joined(" or ", [_not_matching(each, types) for each in filters])
        case AnyOf(filters):
            return _joined(" and ", [_not_matching(each, types) for each in filters])
        case NoneOf(filters):
            return _joined(" or ", [_matching(each, types) for each in filters])
        case Equals() | OneOf() | Range():
            field = attribute_field(filter.attribute)
            return f"({field} is null or not ({_condition(filter, types)}))"


def _joined(operator: str, parts: Sequence[str]) -> str:
    return f"({operator.join(parts)})"


def _condition(condition: Equals | OneOf | Range, types: Types) -> str:
    field, kind = attribute_field(condition.attribute), types[condition.attribute]
    match condition:
        case Equals(_, value):
            return _equals_any(field, kind, [value])
        case OneOf(_, values):
            return _equals_any(field, kind, values)
        case Range():
            if kind in _INTEGERS:
                return _integer_range(field, condition)
            return _double_range(field, condition)


def _equals_any(field: str, kind: AttributeType, values: Sequence[AttributeScalar]) -> str:
    if kind is AttributeType.STRING_LIST:
        return f"array_contains_any({field}, [{_literals(values)}])"
    # The least integer cannot be written: the parser reads its digits before the sign.
    parts = [f"{field} < {_LEAST + 1}"] if kind in _INTEGERS and _has_least(values) else []
    writable = [value for value in values if not (kind in _INTEGERS and _has_least([value]))]
    if writable:
        parts.append(f"{field} in [{_literals(writable)}]")
    return " or ".join(parts)


def _has_least(values: Sequence[AttributeScalar]) -> bool:
    return any(type(value) is int and value == _LEAST for value in values)


def _integer_range(field: str, range: Range) -> str:
    """With inclusive bounds, which need no literal beyond those that can be written."""
    lower = _LEAST if range.lower is None else _integer(range.lower) + (not range.lower_inclusive)
    upper = (
        _GREATEST if range.upper is None else _integer(range.upper) - (not range.upper_inclusive)
    )
    if lower > upper:
        return _NEVER
    parts = [f"{field} >= {lower}"] if lower > _LEAST else []
    if upper == _LEAST:
        parts.append(f"{field} < {_LEAST + 1}")
    elif upper < _GREATEST:
        parts.append(f"{field} <= {upper}")
    return " and ".join(parts) or f"{field} is not null"


def _double_range(field: str, range: Range) -> str:
    parts = []
    if range.lower is not None:
        parts.append(f"{field} {'>=' if range.lower_inclusive else '>'} {_literal(range.lower)}")
    if range.upper is not None:
        parts.append(f"{field} {'<=' if range.upper_inclusive else '<'} {_literal(range.upper)}")
    return " and ".join(parts)


def _integer(value: AttributeScalar) -> int:
    if isinstance(value, int):
        return value
    assert not isinstance(value, str | float), "checked before"
    return to_microseconds(value)


def _literals(values: Iterable[AttributeScalar]) -> str:
    return ", ".join(map(_literal, values))


def _literal(value: AttributeScalar) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        # -0.0 and 0.0 are one value to a caller.
        return repr(value + 0.0)
    return str(_integer(value))
