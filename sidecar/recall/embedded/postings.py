"""Which documents have which value of one attribute, in memory.

Memory: 4 bytes for a document and value, 2 more once it was filtered by, and for each different
value 12 bytes (numbers) or its string and 16.
"""

from __future__ import annotations

import array
import functools
import sys
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from sidecar.storage.rows import RowValue
from sidecar.types import AttributeType

Ordinals32 = npt.NDArray[np.uint32]
# Numbers as an array, strings as a list: both are sorted, and bisect reads both.
Keys = npt.NDArray[np.int64] | npt.NDArray[np.float64] | list[str]

# A slice is the union of the whole blocks in it, made once, and of what is left at its ends.
BLOCK = 1 << 14
# Sets of the documents of so many frequent values are kept.
KEPT_SETS = 32
# Ordinals are sparse if the highest is so many times their number: documents come and go.
SPARSE = 16
_SHIFT = np.uint64(32)


def to_bitmap(ordinals: npt.NDArray[np.integer]) -> BitMap:
    """Ordinals below 2**32 as a set; fast if they are sorted. Raises OverflowError."""
    if len(ordinals) and int(ordinals.max()) >> 32:
        raise OverflowError("an ordinal is beyond 32 bits")
    # pyroaring reads an array of the standard library as a whole, any other value by value.
    values = array.array("I")
    values.frombytes(ordinals.astype(np.uint32, copy=False).tobytes())
    return BitMap(values)


def to_ordinals(bitmap: BitMap) -> npt.NDArray[np.int64]:
    """A set as sorted ordinals."""
    return np.frombuffer(bitmap.to_array(), dtype=np.uint32).astype(np.int64)


class Postings:
    """Sorted keys (k,), and of key i the ordinals[starts[i]:starts[i + 1]], rising. Immutable."""

    def __init__(self, keys: Keys, starts: npt.NDArray[np.int64], ordinals: Ordinals32) -> None:
        """No key without an ordinal."""
        self.keys = keys
        self.starts = starts
        self.ordinals = ordinals
        self._blocks: dict[int, BitMap] = {}
        self._kept: dict[tuple[int, int], BitMap] = {}
        self._keeping = threading.Lock()

    @classmethod
    def of(cls, kind: AttributeType, pairs: Iterable[tuple[RowValue, int]]) -> Postings:
        """Of some (value, ordinal), in any order."""
        ordered = sorted(pairs)
        values = [value for value, _ in ordered]
        new = [i for i, value in enumerate(values) if i == 0 or value != values[i - 1]]
        counts = np.diff([*new, len(values)])
        ordinals = np.array([ordinal for _, ordinal in ordered], dtype=np.uint32)
        return cls(to_keys(kind, [values[i] for i in new]), _starts(counts), ordinals)

    @functools.cached_property
    def bytes(self) -> int:
        """Memory that it takes at most, kept sets of documents aside."""
        return least_bytes(self.keys, len(self.ordinals))

    def equals(self, other: Postings) -> bool:
        """Whether the same documents have the same values."""
        return (
            list(self.keys) == list(other.keys)
            and np.array_equal(self.starts, other.starts)
            and np.array_equal(self.ordinals, other.ordinals)
        )

    def find(self, value: RowValue) -> int | None:
        """The index of a value among the keys, if it is there."""
        key = bisect_left(self.keys, value)
        return key if key < len(self.keys) and self.keys[key] == value else None

    def plain(self, key: int) -> RowValue:
        """The value that a key stands for."""
        value = self.keys[key]
        return value if isinstance(value, str) else value.item()

    def equal(self, value: RowValue) -> BitMap:
        """Ordinals with a value."""
        key = self.find(value)
        return BitMap() if key is None else self._slice(key, key + 1)

    def between(
        self,
        lower: RowValue | None,
        upper: RowValue | None,
        lower_inclusive: bool = True,
        upper_inclusive: bool = True,
    ) -> BitMap:
        """Ordinals with a value within bounds; None is no bound."""
        first, last = 0, len(self.keys)
        if lower is not None:
            first = (bisect_left if lower_inclusive else bisect_right)(self.keys, lower)
        if upper is not None:
            last = (bisect_right if upper_inclusive else bisect_left)(self.keys, upper)
        return self._slice(first, max(first, last))

    def counts(self, among: BitMap) -> npt.NDArray[np.int64]:
        """How many of some documents have each key, (k,)."""
        if not len(self.keys):
            return np.empty(0, np.int64)
        counted: npt.NDArray[np.int64] = np.add.reduceat(
            _are_among(self.ordinals, among), self.starts[:-1], dtype=np.int64
        )
        return counted

    def merged(self, removed: BitMap, added: Postings) -> Postings:
        """Without some documents, and with others; an ordinal must not be in both."""
        fresh = [key for key in added.keys if self.find(key) is None]
        places = np.array([bisect_left(self.keys, key) for key in fresh], dtype=np.int64)
        keys = _inserted(self.keys, places, fresh)
        # What came in front of a key moves it.
        moved = np.arange(len(self.keys)) + np.searchsorted(
            places, np.arange(len(self.keys)), side="right"
        )
        found = np.array([bisect_left(keys, key) for key in added.keys], dtype=np.int64)
        entries = np.concatenate([_entries(self, moved, removed), _entries(added, found, BitMap())])
        entries.sort()
        return _of_entries(keys, entries)

    def _slice(self, first_key: int, last_key: int) -> BitMap:
        """Ordinals with a key of a slice of them; the caller does not change the set."""
        first, last = int(self.starts[first_key]), int(self.starts[last_key])
        if last - first <= BLOCK:
            return self._sorted(first, last)
        if last_key - first_key > 1:
            return self._united(first, last)
        with self._keeping:
            kept = self._kept.get((first, last))
        if kept is None:
            kept = self._united(first, last)
            with self._keeping:
                if len(self._kept) >= KEPT_SETS:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[first, last] = kept
        return kept

    def _united(self, first: int, last: int) -> BitMap:
        whole = range(-(-first // BLOCK), last // BLOCK)
        if not whole:
            return self._sorted(first, last)
        ends = self._sorted(first, whole.start * BLOCK), self._sorted(whole.stop * BLOCK, last)
        return BitMap.union(*ends, *map(self._block, whole))

    def _block(self, number: int) -> BitMap:
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = self._sorted(number * BLOCK, (number + 1) * BLOCK)
        return block

    def _sorted(self, first: int, last: int) -> BitMap:
        return to_bitmap(np.sort(self.ordinals[first:last]))


def best_counted(
    postings: Postings, counts: npt.NDArray[np.int64], limit: int
) -> list[tuple[RowValue, int]]:
    """Of the keys, counted in `counts`, the `limit` most frequent that occur, the first of those
    equally frequent, in any order."""
    keys = np.flatnonzero(counts)
    if len(keys) > limit:
        least = np.partition(counts, -limit)[-limit]
        above = np.flatnonzero(counts > least)
        keys = np.concatenate([above, np.flatnonzero(counts == least)[: limit - len(above)]])
    return [(postings.plain(key), int(counts[key])) for key in keys.tolist()]


def least_bytes(values: Keys | Sequence[RowValue], postings: int) -> int:
    """Memory for different values with so many documents in all."""
    strings = len(values) > 0 and isinstance(values[0], str)
    own = sum(map(sys.getsizeof, values)) if strings else 0
    return own + 16 * len(values) + 6 * postings


def to_keys(kind: AttributeType, values: Sequence[RowValue]) -> Keys:
    """Sorted values of an attribute of some type as keys."""
    if kind in (AttributeType.STRING, AttributeType.STRING_LIST):
        return [str(value) for value in values]
    if kind is AttributeType.DOUBLE:
        return np.array(values, dtype=np.float64)
    return np.array(values, dtype=np.int64)


def from_chunks(
    kind: AttributeType,
    values: Sequence[RowValue],
    counts: Sequence[int],
    ordinals: npt.NDArray[np.int64],
) -> Postings:
    """Of rising values and how many of `ordinals` belong to each, these in any order."""
    indexes = np.repeat(np.arange(len(values)), counts)
    entries = (indexes.astype(np.uint64) << _SHIFT) | ordinals.astype(np.uint64)
    entries.sort()
    return _of_entries(to_keys(kind, values), entries)


def _are_among(ordinals: Ordinals32, members: BitMap) -> npt.NDArray[np.int8]:
    """1 for each of the ordinals, at least one, that is a member, else 0."""
    highest, sought = int(ordinals.max()), to_ordinals(members)
    if highest > SPARSE * len(ordinals):
        return np.isin(ordinals, sought).astype(np.int8)
    # Twice as fast, with a byte for each ordinal that there may be.
    is_member = np.zeros(highest + 1, dtype=np.int8)
    is_member[sought[: np.searchsorted(sought, highest, side="right")]] = 1
    return is_member[ordinals]


def _entries(
    postings: Postings, indexes: npt.NDArray[np.int64], removed: BitMap
) -> npt.NDArray[np.uint64]:
    """Each (key, ordinal) in one number, with the keys under other indexes, but for those of some
    ordinals."""
    by_key = np.repeat(indexes.astype(np.uint64) << _SHIFT, np.diff(postings.starts))
    entries = by_key | postings.ordinals
    if not removed:
        return entries
    kept: npt.NDArray[np.uint64] = entries[~np.isin(postings.ordinals, to_ordinals(removed))]
    return kept


def _of_entries(keys: Keys, entries: npt.NDArray[np.uint64]) -> Postings:
    """Of sorted numbers, each an index of `keys` and an ordinal."""
    counts = np.bincount((entries >> _SHIFT).astype(np.int64), minlength=len(keys))
    used = counts > 0
    if isinstance(keys, list):
        left: Keys = [key for key, is_used in zip(keys, used.tolist(), strict=True) if is_used]
    else:
        left = keys[used]
    return Postings(left, _starts(counts[used]), entries.astype(np.uint32))


def _inserted(keys: Keys, places: npt.NDArray[np.int64], fresh: Sequence[RowValue]) -> Keys:
    if isinstance(keys, list):
        return sorted([*keys, *map(str, fresh)])
    numbers: Any = keys
    inserted: Keys = np.insert(numbers, places, np.array(fresh, dtype=numbers.dtype))
    return inserted


def _starts(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
