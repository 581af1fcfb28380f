"""The attributes of a collection's documents, as filters ask for them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ordinals = npt.NDArray[np.int64]


class AttributeReader:
    """Which documents have which attributes, on one state of the database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def ordinals_where(self, condition: str, parameters: Sequence[object]) -> Ordinals:
        """Ordinals of the attribute rows (name, value) for which an SQL condition holds."""
        return self._ordinals(f"attribute_values WHERE {condition}", parameters)

    def all_ordinals(self) -> Ordinals:
        """Ordinals of all documents, sorted."""
        return np.sort(self._ordinals("documents", ()))

    def _ordinals(self, source: str, parameters: Sequence[object]) -> Ordinals:
        # One long text is read four times faster than a row for each ordinal.
        statement = f"SELECT group_concat(ordinal) FROM {source}"
        (text,) = self._connection.execute(statement, parameters).fetchone()
        return np.fromstring(text or "", dtype=np.int64, sep=",")
