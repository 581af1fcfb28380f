"""One state of all attributes in memory.

Most documents are in the `base` of each attribute. Those written since it was built are in its
`tail`, and `stale` covers what the base still has of them: a write changes only the latter two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyroaring import BitMap

from sidecar.recall.embedded.postings import Postings, best_counted
from sidecar.storage.attributes import AttributeChanges
from sidecar.storage.rows import RowValue
from sidecar.types import AttributeType


@dataclass(frozen=True, slots=True)
class Column:
    """One attribute: `base` counts but for stale documents, `tail` has those."""

    kind: AttributeType
    base: Postings
    tail: Postings


@dataclass(frozen=True, slots=True)
class ColumnView:
    """Attributes as of `watermark`, by name; one that is not held is left out. Immutable, and so
    are the sets that it gives.

    `documents`: ordinals of all; `stale`: of those written or deleted since the bases were built.
    """

    watermark: int
    documents: BitMap
    stale: BitMap
    columns: Mapping[str, Column]

    # What filters and facets ask (see Attributes), of attributes that are held.

    def one_of(self, name: str, values: Sequence[RowValue]) -> BitMap:
        """See Attributes."""

        def union(postings: Postings) -> BitMap:
            if len(values) == 1:
                return postings.equal(values[0])
            return BitMap.union(*map(postings.equal, values))

        return self._both(name, union)

    def between(
        self,
        name: str,
        lower: RowValue | None,
        upper: RowValue | None,
        lower_inclusive: bool = True,
        upper_inclusive: bool = True,
    ) -> BitMap:
        """See Attributes."""
        bounds = (lower, upper, lower_inclusive, upper_inclusive)
        return self._both(name, lambda postings: postings.between(*bounds))

    def most_frequent(self, name: str, among: BitMap, limit: int) -> list[tuple[RowValue, int]]:
        """See Attributes."""
        column, among = self.columns[name], among & self.documents
        counts = column.base.counts(among - self.stale)
        fresh = []
        tail = column.tail.counts(among & self.stale)
        for value, count in best_counted(column.tail, tail, len(tail)):
            key = column.base.find(value)
            if key is None:
                fresh.append((value, count))
            else:
                counts[key] += count
        found = [*best_counted(column.base, counts, limit), *fresh]
        return sorted(found, key=lambda each: (-each[1], each[0]))[:limit]

    def _both(self, name: str, found: Callable[[Postings], BitMap]) -> BitMap:
        column = self.columns[name]
        if not self.stale:
            return found(column.base)
        return (found(column.base) - self.stale) | found(column.tail)

    # What a write makes of it

    @property
    def bytes(self) -> int:
        """Memory that the bases take at most."""
        return sum(column.base.bytes for column in self.columns.values())

    def changed(self, changes: AttributeChanges) -> ColumnView:
        """The view after some changes."""
        written, deleted = BitMap(changes.written), BitMap(changes.deleted)
        pairs: dict[str, list[tuple[RowValue, int]]] = {name: [] for name in self.columns}
        for name, value, ordinal in changes.rows:
            if name in pairs:
                pairs[name].append((value, ordinal))
        touched = written | deleted
        known = touched & self.stale
        return ColumnView(
            changes.upto,
            (self.documents - deleted) | written,
            self.stale | touched,
            {name: _changed(each, known, pairs[name]) for name, each in self.columns.items()},
        )

    def settled(self) -> ColumnView:
        """The same with nothing stale. Takes time in proportion to all."""
        columns = {}
        for name, column in self.columns.items():
            base = column.base.merged(self.stale, column.tail)
            columns[name] = Column(column.kind, base, Postings.of(column.kind, ()))
        return ColumnView(self.watermark, self.documents.copy(), BitMap(), columns)

    def without(self, name: str) -> ColumnView:
        """The same without an attribute."""
        left = {other: column for other, column in self.columns.items() if other != name}
        return dataclasses.replace(self, columns=left)


def _changed(column: Column, known: BitMap, pairs: list[tuple[RowValue, int]]) -> Column:
    """With the values of documents that were written, or deleted; the tail has `known` of them."""
    if not pairs and not known:
        return column
    tail = column.tail.merged(known, Postings.of(column.kind, pairs))
    return dataclasses.replace(column, tail=tail)
