"""Deletions that a dense index heard of ahead of the changes that they are among.

Changes that were read before a deletion was written still have its documents' vectors; applied
after it, they would bring them back until the next changes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from sidecar.recall.embedded.dense_rows import Ordinals


class EarlyDeletions:
    """Not safe to change while it is read."""

    def __init__(self) -> None:
        self._sequences: dict[int, int] = {}  # by ordinal, in the order they were heard of

    def __len__(self) -> int:
        return len(self._sequences)

    def add(self, ordinals: Iterable[int], sequence: int) -> None:
        """Documents that the write of this number deleted."""
        for ordinal in ordinals:
            self._sequences.pop(ordinal, None)
            self._sequences[ordinal] = sequence

    def are_after(self, ordinals: Ordinals, upto: int) -> npt.NDArray[np.bool_]:
        """Of each ordinal, whether it was deleted by a write after `upto`."""
        known = self._sequences
        return np.array([known.get(each, -1) > upto for each in ordinals.tolist()], bool)

    def drop(self, upto: int) -> None:
        """Those by writes up to a number are among the changes that are applied from now on."""
        while self._sequences:
            ordinal = next(iter(self._sequences))
            if self._sequences[ordinal] > upto:
                break
            del self._sequences[ordinal]
