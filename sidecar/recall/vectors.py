"""Vectors that come from a caller: checked, then normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.errors import InvalidFieldError


def check_vector(values: Sequence[float], dimensions: int, field: str) -> npt.NDArray[np.float32]:
    """The unit vector, float32 (dimensions,), of a caller's values.

    Raises InvalidFieldError naming `field`: wrong length, not finite, all zero.
    """
    if len(values) != dimensions:
        raise InvalidFieldError(
            field, f"has {len(values)} values; the collection's bi-encoder has {dimensions}"
        )
    vector = np.asarray(values, dtype=np.float64)
    if not np.isfinite(vector).all():
        position = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise InvalidFieldError(
            f"{field}[{position}]", f"is {vector[position]}: give finite values"
        )
    greatest = float(np.abs(vector).max())
    if greatest == 0.0:
        raise InvalidFieldError(field, "is all zero and has no direction: give another vector")
    # Divided by the greatest first: the squares of very large or small values leave the range.
    unit: npt.NDArray[np.float32] = normalised((vector / greatest).reshape(1, -1))[0]
    return unit


def normalised(vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Rows (vectors, dimensions) divided by their lengths; a zero row becomes NaN."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    units: npt.NDArray[np.float32] = np.divide(vectors, np.where(lengths > 0.0, lengths, np.nan))
    return units.astype(np.float32)
