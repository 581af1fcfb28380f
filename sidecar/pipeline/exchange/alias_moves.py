"""Writes down in the registry what serves: which aliases move when a version does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sidecar.errors import ModelChangeError, SidecarError, StorageError
from sidecar.pipeline.variant import Origin
from sidecar.storage.registry import CANARY, Registry, moves_of_promotion

ATTEMPTS = 3

Moves = Mapping[str, str | None]


class AliasError(StorageError):
    """A version serves, but the registry could not be told so."""


def record_promotion(registry: Registry, origin: Origin) -> None:
    """Points "production" to a version, and "previous" to the one before. Blocks. Raises
    AliasError."""
    _record(registry, origin, lambda found: moves_of_promotion(found, origin.version))


def record_canary(registry: Registry, origin: Origin) -> None:
    """Points "canary" to a version. Blocks. Raises AliasError."""
    _record(registry, origin, lambda _: {CANARY: origin.version})


def record_end_of_canary(registry: Registry, origin: Origin) -> None:
    """Takes "canary" from a version, if it is there still. Blocks. Raises AliasError."""

    def moves_of(found: Mapping[str, str]) -> Moves:
        return {CANARY: None} if found.get(CANARY) == origin.version else {}

    _record(registry, origin, moves_of)


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
