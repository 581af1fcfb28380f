"""What the weights of text fields in the lexical leg must be."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar.errors import InvalidFieldError
from sidecar.recall.attributes import nearest
from sidecar.types import Schema

MAX_WEIGHT = 100.0


def check_field_weights(
    weights: Mapping[str, float], schema: Schema, path: str = "field_weights"
) -> None:
    """Raises InvalidFieldError naming the weight at fault ('field_weights["title"]')."""
    known = [field.name for field in schema.text_fields]
    for name, weight in weights.items():
        here = f'{path}["{name[:80]}"]'
        if name not in known:
            raise InvalidFieldError(here, f"is not a text field: {nearest(name, known)}")
        if not 0.0 <= weight <= MAX_WEIGHT:  # nor is it where it is not a number
            raise InvalidFieldError(here, f"is {weight}: give 0 to {MAX_WEIGHT:g}")
    if weights and not any(weights.get(name, 1.0) for name in known):
        raise InvalidFieldError(path, "are all 0: give one field at least a weight above 0")
