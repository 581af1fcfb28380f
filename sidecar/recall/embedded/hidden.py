"""Deleted documents that an index may still find, to be passed over until it does not.

Immutable, and cheap to add to: who writes adds some, while searches go on with what there was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pyroaring import BitMap


@dataclass(frozen=True, slots=True)
class _Batch:
    """Ordinals, and the last write that deleted any of them."""

    ordinals: BitMap
    sequence: int


@dataclass(frozen=True, slots=True)
class Hidden:
    """Ordinals, which are never given to another document.

    Each batch has more than twice as many as the next one, so that there are few, and an ordinal is
    copied a few times only. One of a batch may thus be hidden for longer than it need be.
    """

    batches: tuple[_Batch, ...] = ()

    def __contains__(self, ordinal: int) -> bool:
        return any(ordinal in batch.ordinals for batch in self.batches)

    def __bool__(self) -> bool:
        return bool(self.batches)

    def adding(self, ordinals: list[int], sequence: int) -> Self:
        """These and some that a write deleted."""
        batches, added = list(self.batches), BitMap(ordinals)
        while batches and len(batches[-1].ordinals) <= 2 * len(added):
            last = batches.pop()
            added, sequence = last.ordinals | added, max(last.sequence, sequence)
        return type(self)((*batches, _Batch(added, sequence)))

    def above(self, watermark: int) -> Self:
        """Without those of which an index has all deletions."""
        if all(batch.sequence > watermark for batch in self.batches):
            return self
        return type(self)(tuple(each for each in self.batches if each.sequence > watermark))
