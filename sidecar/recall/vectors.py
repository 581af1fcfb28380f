"""Vectors that come from a caller: checked, then normalised."""

from __future__ import annotations

from collections.abc import Sequence

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
    scaled = vector / greatest
    return (scaled / np.linalg.norm(scaled)).astype(np.float32)
