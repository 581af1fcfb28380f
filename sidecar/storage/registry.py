"""The registry: immutable versions of models, and the aliases that say which of them serves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sidecar.config import RegistryConfig


@dataclass(frozen=True, slots=True)
class FetchedVersion:
    """A version whose files are on this machine, their digests checked."""

    model: str
    version: str
    folder: Path


class Registry:
    """A folder or an address of models."""

    def fetch(self, model: str, version: str) -> FetchedVersion:
        """The files of a version or alias. Raises ModelNotFoundError, ModelRefusedError,
        StorageError."""
        raise NotImplementedError


def open_registry(config: RegistryConfig, data_dir: Path) -> Registry:
    """The registry of a configuration. Raises StorageError."""
    raise NotImplementedError
