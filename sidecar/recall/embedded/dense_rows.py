"""Which row of a FAISS index holds the vector of which document.

Rows are only ever added. A vector that is replaced or forgotten leaves a dead row behind, which
searches pass over and the next index that is made of this one leaves out. So a change costs what it
changes, whatever the size of the index.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

Ordinals = npt.NDArray[np.int64]  # (vectors,)
RowNumbers = npt.NDArray[np.int64]  # (vectors,), -1 for none
_ABSENT = -1
_LEAST_CAPACITY = 1024


class Rows:
    """Ordinals by row and rows by ordinal: 13 bytes a row, and 4 for each ordinal ever given.

    Not safe to change while it is read.
    """

    def __init__(self) -> None:
        self.row_count = 0  # dead ones with them
        self.count = 0  # living ones
        self._ordinals = np.empty(0, np.int64)  # by row
        self._living = np.empty(0, bool)  # by row
        self._row_of = np.empty(0, np.int32)  # by ordinal
        self._living_bits: npt.NDArray[np.uint8] | None = None

    @classmethod
    def restored(cls, ordinals: Ordinals, living: npt.NDArray[np.bool_]) -> Rows:
        """Of a snapshot: both by row. Raises ValueError if two living rows have one ordinal."""
        rows = cls()
        rows.append(ordinals)
        rows._living[: len(ordinals)] = living
        rows.count = int(np.count_nonzero(living))
        rows._row_of[ordinals[~living]] = _ABSENT
        held = np.flatnonzero(living)
        rows._row_of[ordinals[held]] = held
        if len(rows.held()) != rows.count:
            raise ValueError("an ordinal has two rows")
        return rows

    @property
    def dead_count(self) -> int:
        """Rows whose vector no longer counts."""
        return self.row_count - self.count

    def reserve(self, ordinals: Ordinals) -> None:
        """Makes room for ordinals that are to be appended: what can fail of that, memory being
        short, fails here."""
        last = self.row_count + len(ordinals)
        self._ordinals = _grown(self._ordinals, last, 0)
        self._living = _grown(self._living, last, False)
        self._row_of = _grown(self._row_of, int(ordinals.max(initial=-1)) + 1, _ABSENT)

    def append(self, ordinals: Ordinals) -> RowNumbers:
        """Gives the next rows to ordinals, none of which is held or named twice."""
        self.reserve(ordinals)
        first, last = self.row_count, self.row_count + len(ordinals)
        self._ordinals[first:last] = ordinals
        self._living[first:last] = True
        added = np.arange(first, last, dtype=np.int64)
        self._row_of[ordinals] = added
        self.row_count, self.count = last, self.count + len(ordinals)
        self._living_bits = None
        return added

    def forget(self, ordinals: Ordinals) -> None:
        """Those of some ordinals (each named once) that are held are so no more."""
        rows = self.rows_of(ordinals)
        is_held = rows != _ABSENT
        self._living[rows[is_held]] = False
        self._row_of[ordinals[is_held]] = _ABSENT
        self.count -= int(np.count_nonzero(is_held))
        self._living_bits = None

    def rows_of(self, ordinals: Ordinals) -> RowNumbers:
        """The living row of each ordinal, -1 for those not held."""
        rows = np.full(len(ordinals), _ABSENT, np.int64)
        known = ordinals < len(self._row_of)
        rows[known] = self._row_of[ordinals[known]]
        return rows

    def ordinals_of(self, rows: RowNumbers) -> Ordinals:
        """The ordinals of some rows."""
        return self._ordinals[rows]

    def held(self) -> Ordinals:
        """All ordinals that are held, sorted."""
        return np.flatnonzero(self._row_of != _ABSENT)

    def between(self, first: int, last: int) -> Ordinals:
        """The ordinals of the rows from `first` up to `last`, dead ones too: they never change."""
        return self._ordinals[first:last].copy()

    def living(self) -> npt.NDArray[np.bool_]:
        """A copy, by row."""
        return self._living[: self.row_count].copy()

    def living_selector(self) -> Any:
        """FAISS's selector of the living rows; None where there are no others."""
        if not self.dead_count:
            return None
        bits = self._living_bits
        if bits is None:
            bits = self._living_bits = _packed(self._living[: self.row_count])
        return faiss.IDSelectorBitmap(bits)

    def selector_of(self, rows: RowNumbers) -> Any:
        """FAISS's selector of some rows."""
        chosen = np.zeros(self.row_count, dtype=bool)
        chosen[rows] = True
        return faiss.IDSelectorBitmap(_packed(chosen))


def _packed(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return np.packbits(bits, bitorder="little")


def _grown(values: npt.NDArray[Any], least: int, filling: object) -> npt.NDArray[Any]:
    """With room for at least so many; twice as much as before where it has to grow."""
    if least <= len(values):
        return values
    grown = np.full(max(least, 2 * len(values), _LEAST_CAPACITY), filling, dtype=values.dtype)
    grown[: len(values)] = values
    return grown
