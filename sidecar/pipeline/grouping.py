"""Few hits of each value of an attribute: pure functions from hits to hits."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping

from sidecar.errors import InvalidFieldError
from sidecar.pipeline.ordering import ranked
from sidecar.recall.attributes import nearest
from sidecar.types import Attribute, AttributeScalar, AttributeType, Grouping, Hit, Schema


class Places:
    """The places that groups have left. Hits without a group always have one."""

    def __init__(self, per_group: int) -> None:
        self._per_group = per_group
        self._taken: Counter[AttributeScalar] = Counter()

    def has(self, hit: Hit) -> bool:
        """Whether there is one for a hit."""
        return hit.group is None or self._taken[hit.group] < self._per_group

    def take(self, hit: Hit) -> None:
        """One less."""
        if hit.group is not None:
            self._taken[hit.group] += 1


def with_groups(
    hits: Iterable[Hit], attributes: Mapping[str, Mapping[str, Attribute]], name: str
) -> tuple[Hit, ...]:
    """The hits, each with its value of an attribute as its group."""
    return tuple(
        dataclasses.replace(hit, group=_scalar(attributes.get(hit.doc_id, {}).get(name)))
        for hit in hits
    )


def grouped(hits: Iterable[Hit], per_group: int) -> tuple[Hit, ...]:
    """The first `per_group` hits of each group and all that have none; the others move up."""
    places = Places(per_group)
    kept = []
    for hit in hits:
        if places.has(hit):
            places.take(hit)
            kept.append(hit)
    return ranked(kept)


def cut_grouped(
    hits: Iterable[Hit], per_group: int, depth: int, wanted: int
) -> tuple[tuple[Hit, ...], int]:
    """The first `depth` hits and, of those after them, the next that their groups have a place for
    until `wanted` have one; and how many have one."""
    places = Places(per_group)
    kept: list[Hit] = []
    shown = 0
    for index, hit in enumerate(hits):
        if index >= depth and shown >= wanted:
            break
        has_place = places.has(hit)
        if has_place:
            places.take(hit)
            shown += 1
        if has_place or index < depth:
            kept.append(hit)
    return ranked(kept), shown


def check_grouping(grouping: Grouping | None, schema: Schema) -> None:
    """Raises InvalidFieldError for one that does not fit the collection."""
    if grouping is None:
        return
    types = schema.attribute_types()
    name, kind = grouping.attribute, types.get(grouping.attribute)
    if kind is None:
        raise InvalidFieldError(
            "grouping.attribute", f"{name[:80]!r} is not an attribute: {nearest(name, types)}"
        )
    if kind is AttributeType.STRING_LIST:
        raise InvalidFieldError(
            "grouping.attribute", f"{name!r} is of type {kind}: a document would be in many groups"
        )


def _scalar(value: Attribute | None) -> AttributeScalar | None:
    assert not isinstance(value, tuple)
    return value
