"""Boosts and decay: factors on fused scores, by the attributes of the documents.

fused candidates, their attributes -> factors -> the same candidates in the order of their products

They come before the rerankers' candidates are chosen, and what they make of a score is the earlier
score that a reranker's is combined with. Fused scores are not negative, so a product is an order; a
model's logits may be, and are left alone. Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from math import exp2, prod

from sidecar.errors import InvalidFieldError
from sidecar.recall.attributes import check_operand, nearest
from sidecar.recall.base import Recalled
from sidecar.recall.filters import check_filter, matcher_of
from sidecar.storage.rows import to_microseconds
from sidecar.types import Attribute, AttributeType, Boost, Decay, Query, Schema

_MICROSECONDS = 1e6
_DECAYING = (AttributeType.TIMESTAMP, AttributeType.INTEGER, AttributeType.DOUBLE)


def is_boosted(query: Query) -> bool:
    """Whether a query asks for boosts or decay."""
    return bool(query.boosts) or query.decay is not None


def factors_of(
    attributes: Mapping[str, Mapping[str, Attribute]], query: Query, now: datetime
) -> dict[str, float]:
    """What the fused score of each document is multiplied by. Takes a while: not for a loop."""
    boost_of = boost_function(query.boosts)
    return {
        doc_id: boost_of(of_document) * decay_of(of_document, query.decay, now)
        for doc_id, of_document in attributes.items()
    }


def boost_function(boosts: Sequence[Boost]) -> Callable[[Mapping[str, Attribute]], float]:
    """From the attributes of a document to the product of the factors whose filter it matches."""
    matchers = [(matcher_of(boost.filter), boost.factor) for boost in boosts]
    return lambda attributes: prod(
        (factor for matches, factor in matchers if matches(attributes)), start=1.0
    )


def decay_of(attributes: Mapping[str, Attribute], decay: Decay | None, now: datetime) -> float:
    """max(floor, 2 ^ -(max(0, |value - origin| - offset) / half_life)); without a value `missing`,
    without a decay 1."""
    if decay is None:
        return 1.0
    value = attributes.get(decay.attribute)
    if value is None:
        return decay.missing
    origin = now if decay.origin is None else decay.origin
    beyond = max(0.0, _distance(value, origin) - decay.offset)
    return max(decay.floor, exp2(-beyond / decay.half_life))


def boosted(fused: Sequence[Recalled], factors: Mapping[str, float]) -> list[Recalled]:
    """The candidates that have a factor, scores multiplied, best first, ties by doc_id."""
    products = [
        Recalled(one.doc_id, one.score * factors[one.doc_id])
        for one in fused
        if one.doc_id in factors
    ]
    return sorted(products, key=lambda one: (-one.score, one.doc_id))


def check_boosting(query: Query, schema: Schema) -> None:
    """Raises InvalidFieldError for a boost or a decay that does not fit the collection."""
    for index, boost in enumerate(query.boosts):
        check_filter(boost.filter, schema, f"boosts[{index}].filter")
    if query.decay is not None:
        _check_decay(query.decay, schema)


def _check_decay(decay: Decay, schema: Schema) -> None:
    types = schema.attribute_types()
    name, kind = decay.attribute, types.get(decay.attribute)
    if kind is None:
        raise InvalidFieldError(
            "decay.attribute", f"{name[:80]!r} is not an attribute: {nearest(name, types)}"
        )
    if kind not in _DECAYING:
        raise InvalidFieldError(
            "decay.attribute",
            f"{name!r} is of type {kind}: a decay needs a timestamp, integer or double",
        )
    if decay.origin is not None:
        check_operand(decay.origin, kind, "decay.origin")
    elif kind is not AttributeType.TIMESTAMP:
        raise InvalidFieldError("decay.origin", f"is not set: give a value of type {kind}")


def _distance(value: Attribute, origin: int | float | datetime) -> float:
    """In seconds between two times; between numbers their difference."""
    if isinstance(origin, datetime):
        assert isinstance(value, datetime)
        return abs(to_microseconds(value) - to_microseconds(origin)) / _MICROSECONDS
    assert isinstance(value, int | float)
    return float(abs(value - origin))
