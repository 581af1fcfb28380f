"""Which rows of an index are in which files of its snapshots.

The content of a row never changes, so a file of rows is written once and kept by later snapshots.
What came since the last one is a new file; small files are joined, each time a row is written again
into one at least half as large again, so there are few of them and each row is written few times.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sidecar.recall.embedded.dense_rows import Ordinals, Rows
from sidecar.storage.snapshots import WritePart

Codes = npt.NDArray[np.uint8]  # (rows, bytes of a vector as FAISS keeps it)
RowLists = npt.NDArray[np.int32]  # (rows,)
CHUNK_ROWS = 8192
LIVING = "living"


@dataclass(frozen=True, slots=True)
class Block:
    """The rows from `first` up to `last`, in the file of the part `name`."""

    name: str
    first: int
    last: int


class Blocks:
    """Those of one index. Names are never those of another index's blocks, nor given twice."""

    def __init__(self, tag: str = "", blocks: Sequence[Block] = ()) -> None:
        self.tag = tag or secrets.token_hex(6)
        self.blocks = tuple(blocks)

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Blocks:
        """Of a snapshot, as `about` said."""
        return cls(about["tag"], [Block(*block) for block in about["blocks"]])

    @property
    def row_count(self) -> int:
        """The rows in all of them."""
        return self.blocks[-1].last if self.blocks else 0

    def reach(self, row_count: int) -> None:
        """Has blocks for so many rows, no fewer than before."""
        kept, first = list(self.blocks), self.row_count
        if row_count == first:
            return
        while kept and kept[-1].last - kept[-1].first <= 2 * (row_count - first):
            first = kept.pop().first
        self.blocks = (*kept, Block(f"rows-{self.tag}-{first}-{row_count}", first, row_count))

    def about(self) -> dict[str, Any]:
        """What `of` wants to be told."""
        blocks = [[block.name, block.first, block.last] for block in self.blocks]
        return {"tag": self.tag, "blocks": blocks}


RowsBetween = Callable[[int, int], tuple[RowLists, Codes]]
# Within it, an index does not change.
Reading = Callable[[], AbstractContextManager[None]]


def block_files(
    blocks: Blocks, rows: Rows, between: RowsBetween, reading: Reading
) -> dict[str, WritePart]:
    """The parts of a snapshot that hold an index's rows: ordinal, list, vector of each.

    `between` gives copies of lists and codes from one row up to another.
    """

    def writer(block: Block) -> WritePart:
        def write(file: BinaryIO) -> None:
            for first in range(block.first, block.last, CHUNK_ROWS):
                last = min(first + CHUNK_ROWS, block.last)
                with reading():
                    ordinals, (lists, codes) = rows.between(first, last), between(first, last)
                file.write(ordinals.astype("<i8").tobytes())
                file.write(lists.astype("<i4").tobytes())
                file.write(codes.tobytes())

        return write

    return {block.name: writer(block) for block in blocks.blocks}


def living_file(rows: Rows) -> WritePart:
    """The part that says which rows live, as they do now."""
    bits = np.packbits(rows.living(), bitorder="little").tobytes()
    return lambda file: file.write(bits)


def read_living(path: Path, row_count: int) -> npt.NDArray[np.bool_]:
    """What `living_file` wrote. Raises OSError."""
    bits = np.frombuffer(path.read_bytes(), np.uint8)
    return np.unpackbits(bits, count=row_count, bitorder="little").astype(bool)


def read_blocks(
    files: Mapping[str, Path],
    blocks: Blocks,
    code_bytes: int,
    take: Callable[[RowLists, Codes], object],
) -> Ordinals:
    """Hands lists and codes of all rows to `take`, a chunk at a time in their order; the ordinals
    by row. Raises OSError; KeyError, ValueError for files that are not what is said of them."""
    ordinals = np.empty(blocks.row_count, np.int64)
    for block in blocks.blocks:
        with files[block.name].open("rb") as file:
            for first in range(block.first, block.last, CHUNK_ROWS):
                count = min(CHUNK_ROWS, block.last - first)
                ordinals[first : first + count] = np.frombuffer(file.read(8 * count), "<i8")
                lists = np.frombuffer(file.read(4 * count), "<i4").astype(np.int32)
                codes = np.frombuffer(file.read(code_bytes * count), np.uint8)
                take(lists, codes.reshape(count, code_bytes))
    return ordinals
