"""Which models serve now: the configuration of the sidecar says it, or a registry its production.

A carried name or a folder for each role; models of a registry are fetched.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sidecar.config import Config, RegistryConfig
from sidecar.config_file import load_config
from sidecar.errors import ConfigurationError, InputFileError, ModelNotFoundError
from sidecar.pipeline.resolution import REGISTRY_PREFIX
from sidecar.storage.alias_moves import PRODUCTION
from sidecar.storage.registry import Registry, open_registry
from training.config import BI_ENCODER, TrainingConfig
from training.run_files import EXPORT_FILE, VERDICT_FILE

ROLES = ("bi_encoder", "first_reranker", "second_reranker")
# What tells which models are in production, beside sidecar.configuration.
PRODUCTION_KEYS = ("publish.registry", "publish.bi_encoder", "publish.reranker")


@dataclass(frozen=True, slots=True)
class Models:
    """A carried name or a folder for each role, as the sidecar opens it; "": none."""

    bi_encoder: str
    first_reranker: str
    second_reranker: str

    def of(self, role: str) -> str:
        """The model of one of ROLES."""
        model: str = getattr(self, role)
        return model

    def having(self, role: str, model: str) -> Models:
        """The same but for one role."""
        return dataclasses.replace(self, **{role: model})


def sidecar_config(config: TrainingConfig) -> Config:
    """The configuration of the sidecar that is to get better; its models run in this process."""
    path = config.sidecar.configuration
    sidecar = load_config(Path(path) if path else None, {})
    own = {role: dataclasses.replace(getattr(sidecar, role), vllm_urls="") for role in ROLES}
    return dataclasses.replace(sidecar, **own)


def production_models(config: TrainingConfig, sidecar: Config, kept: Path) -> Models:
    """What serves now: what the sidecar is configured to take from the registry, else the
    production version under the name that is published, else what it is configured with (the
    carried models, if nothing else is said)."""
    published = {
        "bi_encoder": config.publish.bi_encoder,
        config.reranker.role: config.publish.reranker,
    }
    found = {}
    for role in ROLES:
        configured: str = getattr(sidecar, role).model
        if configured.startswith(REGISTRY_PREFIX):
            found[role] = fetched_folder(config, sidecar, configured, kept)
        else:
            served = _in_production(config, sidecar, published.get(role, ""), kept)
            found[role] = served or configured
    return Models(**found)


def served_folder(export: Path) -> Path:
    """The folder of an export that serves. Raises InputFileError."""
    path = export / EXPORT_FILE
    try:
        serves = str(json.loads(path.read_text(encoding="utf-8"))["serves"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputFileError(str(path), None, f"does not say what serves: {error}") from error
    return export / serves


def accepted_bi_encoder(inputs: Mapping[str, Path]) -> str:
    """The folder of the run's bi-encoder if its gate accepted it, else ""."""
    gate, export = inputs.get(f"{BI_ENCODER}/gate"), inputs.get(f"{BI_ENCODER}/export")
    if gate is None or export is None:
        return ""
    verdict = json.loads((gate / VERDICT_FILE).read_text(encoding="utf-8"))
    return str(served_folder(export)) if verdict["verdict"] == "accepted" else ""


def _in_production(config: TrainingConfig, sidecar: Config, name: str, kept: Path) -> str:
    """The folder of the production version of a name, "" where there is none."""
    registry = _registry(config, sidecar, kept)
    if registry is None or not name or PRODUCTION not in registry.aliases(name):
        return ""
    return str(registry.fetch(name, PRODUCTION).folder)


def fetched_folder(config: TrainingConfig, sidecar: Config, spelt: str, kept: Path) -> str:
    """ "registry:NAME" or "registry:NAME@VERSION" -> folder."""
    registry = _registry(config, sidecar, kept)
    if registry is None:
        raise ConfigurationError(f"{spelt!r} is a model of a registry: give publish.registry")
    name, _, version = spelt.removeprefix(REGISTRY_PREFIX).partition("@")
    try:
        return str(registry.fetch(name, version or PRODUCTION).folder)
    except ModelNotFoundError as error:
        raise ConfigurationError(f"{spelt!r}: {error.message}") from error


def _registry(config: TrainingConfig, sidecar: Config, kept: Path) -> Registry | None:
    url = config.publish.registry or sidecar.registry.url
    return open_registry(RegistryConfig(url=url), kept) if url else None
