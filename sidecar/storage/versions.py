"""Which versions of documents and vectors there are at one moment, to compare indexes with."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidecar.storage import statements

# (n, 2): an ordinal and the number of its last write, by ordinal, each ordinal once.
Rows = npt.NDArray[np.int64]
Ordinals = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Versions:
    """All documents as of the write `sequence`; no ordinal up to `last_ordinal` is given again."""

    sequence: int
    last_ordinal: int
    rows: Rows


def read_versions(connection: sqlite3.Connection) -> Versions:
    """Those of a collection's database."""
    found = connection.execute("SELECT ordinal, sequence FROM documents ORDER BY ordinal")
    rows = to_rows(found)
    given = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'documents'")
    (last_ordinal,) = given.fetchone() or (0,)
    return Versions(int(statements.meta(connection, "sequence")), int(last_ordinal), rows)


def to_rows(pairs: Iterable[tuple[int, int]]) -> Rows:
    """Pairs as an array."""
    flat = np.fromiter(itertools.chain.from_iterable(pairs), np.int64)
    return flat.reshape(-1, 2)


def numbers_of(rows: Rows, ordinals: Ordinals) -> npt.NDArray[np.int64]:
    """The number of each of some ordinals, 0 where there is none; no write has that number."""
    if not len(rows):
        return np.zeros(len(ordinals), np.int64)
    places = np.minimum(np.searchsorted(rows[:, 0], ordinals), len(rows) - 1)
    return np.where(rows[places, 0] == ordinals, rows[places, 1], 0)
