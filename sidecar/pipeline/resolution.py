"""What the configuration takes from the registry: names of models -> folders of their versions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sidecar.config import Config
from sidecar.config_file import load_config
from sidecar.errors import ConfigurationError
from sidecar.pipeline.variant import CONFIGURED, PRODUCTION, Origin
from sidecar.storage.registry import Registry, open_registry

REGISTRY_PREFIX = "registry:"
ROLES = ("bi_encoder", "first_reranker", "second_reranker")


def load_resolved(path: Path | None, data_dir: Path) -> Config:
    """The configuration of a file with its models resolved, for commands that work offline. Raises
    ConfigurationError and what `resolve_models` raises."""
    config = load_config(path)
    return resolve_models(config, configured_registry(config, data_dir))[0]


def configured_registry(config: Config, data_dir: Path) -> Registry | None:
    """The registry of a configuration, if it has one. Raises ConfigurationError."""
    return open_registry(config.registry, data_dir) if config.registry.url else None


def resolve_models(config: Config, registry: Registry | None) -> tuple[Config, dict[str, Origin]]:
    """The configuration with the folders of production versions, and where each role's model is
    from. Blocks. Raises ConfigurationError, ModelNotFoundError, ModelRefusedError, StorageError."""
    names = {role: getattr(config, role).model for role in ROLES}
    origins = dict.fromkeys(ROLES, CONFIGURED)
    for role, model in names.items():
        if not model.startswith(REGISTRY_PREFIX):
            continue
        if model == REGISTRY_PREFIX:
            raise ConfigurationError(f"{role}.model is {model!r}: give a name behind it")
        if registry is None:
            raise ConfigurationError(f"{role}.model is {model!r}: give registry.url, too")
        if list(names.values()).count(model) > 1:
            raise ConfigurationError(
                f"{model!r} is the model of two roles: publish it under a name for each"
            )
        fetched = registry.fetch(model.removeprefix(REGISTRY_PREFIX), PRODUCTION)
        section = dataclasses.replace(getattr(config, role), model=str(fetched.folder))
        config = dataclasses.replace(config, **{role: section})
        origins[role] = Origin(fetched.model, fetched.version)
    return config, origins
