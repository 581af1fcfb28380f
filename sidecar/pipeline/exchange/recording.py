"""Writes down in the registry what serves: its aliases move as storage/alias_moves.py says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sidecar.errors import ModelChangeError, SidecarError, StorageError
from sidecar.pipeline.variant import Origin
from sidecar.storage.alias_moves import (
    Moves,
    moves_of_canary,
    moves_of_end_of_canary,
    moves_of_promotion,
)
from sidecar.storage.registry import Registry

ATTEMPTS = 3


class AliasError(StorageError):
    """A version serves, but the registry could not be told so."""


def record_promotion(registry: Registry, origin: Origin) -> None:
    """Points "production" to a version, and "previous" to the one before. Blocks. Raises
    AliasError."""
    _record(registry, origin, lambda found: moves_of_promotion(found, origin.version))


def record_canary(registry: Registry, origin: Origin) -> None:
    """Points "canary" to a version. Blocks. Raises AliasError."""
    _record(registry, origin, lambda _: moves_of_canary(origin.version))


def record_end_of_canary(registry: Registry, origin: Origin) -> None:
    """Takes "canary" from a version, if it is there still. Blocks. Raises AliasError."""
    _record(registry, origin, lambda found: moves_of_end_of_canary(found, origin.version))


def _record(
    registry: Registry, origin: Origin, moves_of: Callable[[Mapping[str, str]], Moves]
) -> None:
    model = origin.registry_model
    try:
        _move(registry, model, moves_of)
    except SidecarError as error:
        raise AliasError(
            f"what serves here is changed, but the aliases of {model} could not be moved: "
            f"{error.message}; a restart serves what they say: ask for the same again"
        ) from error


def _move(registry: Registry, model: str, moves_of: Callable[[Mapping[str, str]], Moves]) -> None:
    """Tries again where somebody else moved aliases of the model meanwhile."""
    for attempt in range(1, ATTEMPTS + 1):
        found = registry.aliases(model)
        moves = moves_of(found)
        if not moves:
            return
        try:
            registry.move_aliases(model, moves, found)
            return
        except ModelChangeError:
            if attempt == ATTEMPTS:
                raise
