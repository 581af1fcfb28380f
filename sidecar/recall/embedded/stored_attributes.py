"""Attributes as the database has them: for what is not in memory."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from pyroaring import BitMap

from sidecar.recall.embedded.postings import best_counted, from_chunks, to_bitmap
from sidecar.recall.facets import most_frequent
from sidecar.storage.attributes import AttributeReader
from sidecar.storage.rows import RowValue
from sidecar.types import AttributeType


class StoredAttributes:
    """All attributes on one state of the database. See Attributes."""

    def __init__(self, reader: AttributeReader, types: Mapping[str, AttributeType]) -> None:
        self._reader = reader
        self._types = types

    @functools.cached_property
    def documents(self) -> BitMap:
        """See Attributes."""
        return to_bitmap(self._reader.all_ordinals())

    def one_of(self, name: str, values: Sequence[RowValue]) -> BitMap:
        """See Attributes."""
        marks = ", ".join("?" * len(values))
        return self._where(f"name = ? AND value IN ({marks})", [name, *values])

    def between(
        self,
        name: str,
        lower: RowValue | None,
        upper: RowValue | None,
        lower_inclusive: bool = True,
        upper_inclusive: bool = True,
    ) -> BitMap:
        """See Attributes."""
        text = "name = ?"
        parameters: list[RowValue] = [name]
        for bound, mark, inclusive in (
            (lower, ">", lower_inclusive),
            (upper, "<", upper_inclusive),
        ):
            if bound is not None:
                text += f" AND value {mark}{'=' if inclusive else ''} ?"
                parameters.append(bound)
        return self._where(text, parameters)

    def most_frequent(self, name: str, among: BitMap, limit: int) -> list[tuple[RowValue, int]]:
        """See Attributes. Reads all values of the attribute."""
        best: list[tuple[RowValue, int]] = []
        for chunk in self._reader.values_of(name):
            postings = from_chunks(self._types[name], chunk.values, chunk.counts, chunk.ordinals)
            best += best_counted(postings, postings.counts(among), limit)
            best = most_frequent(best, limit)
        return best

    def _where(self, condition: str, parameters: list[RowValue]) -> BitMap:
        return to_bitmap(self._reader.ordinals_where(condition, parameters))
