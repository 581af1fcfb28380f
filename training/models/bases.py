"""What training begins with: a name in the configuration -> a folder of this machine.

"" is the carried model of the role; else a carried name, a folder, "registry:NAME" (its production
version) or "registry:NAME@VERSION" (a version, or another alias).
"""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.config import Config
from sidecar.config_file import load_config
from sidecar.errors import ConfigurationError, ModelError
from sidecar.models.contract import CONTRACT_FILE
from sidecar.models.hub import CARRIED, carried_names
from sidecar.storage.alias_moves import PRODUCTION
from sidecar.storage.files import digest_of
from sidecar.storage.registry import Registry
from sidecar.storage.registry_store import open_store
from training.config import BI_ENCODER, TrainingConfig
from training.models.spec import SPEC_FILE

REGISTRY_PREFIX = "registry:"
CARRIED_OF_ROLE = {
    "bi_encoder": "all-minilm-l6-v2",
    "first_reranker": "pair-minilm-l3",
    "second_reranker": "pair-minilm-l6",
}
_ROLE_OF_KIND = {"bi-encoder": "bi_encoder", "cross-encoder": "second_reranker"}
_ADAPTER_FILE = "adapter_config.json"
_WEIGHTS = ("*.safetensors", "model.onnx", "onnx/model.onnx")


@dataclass(frozen=True, slots=True)
class Base:
    """A model's folder, and what people and lineages call it."""

    folder: Path
    name: str
    revision: str

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; empty where there is none. Raises ModelError."""
        path = self.folder / name
        if not path.is_file():
            return {}
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} cannot be read: {error}") from error
        return tree if isinstance(tree, dict) else {}


def kind_of(model: str) -> str:
    """Of one of config.MODELS: what ModelSpec calls it."""
    return "bi-encoder" if model == BI_ENCODER else "cross-encoder"


def base_name(config: TrainingConfig, model: str) -> str:
    """What the configuration has a model begin with: its `base`, else what serves: what the sidecar
    is configured to take from the registry, the production version of the name that it is published
    under, what the sidecar is configured with, or the carried model. Raises ConfigurationError,
    StorageError."""
    section, published = config.fine_tune(model), getattr(config.publish, model)
    if section.base:
        return section.base
    configured: str = getattr(_sidecar(config), section.role).model
    url = registry_url(config)
    if url and not configured.startswith(REGISTRY_PREFIX):
        registry = Registry(open_store(url, _cache()))
        if PRODUCTION in registry.aliases(published):
            return f"{REGISTRY_PREFIX}{published}"
    return configured or CARRIED_OF_ROLE[section.role]


def registry_url(config: TrainingConfig) -> str:
    """That models are published to, else the sidecar's; "" where there is none."""
    return config.publish.registry or _sidecar(config).registry.url


def base_of(config: TrainingConfig, model: str) -> Base:
    """What one of config.MODELS begins with. Raises as `base_name` and `find_base`."""
    name, role = base_name(config, model), config.fine_tune(model).role
    return find_base(name, kind_of(model), registry_url(config), role)


def _sidecar(config: TrainingConfig) -> Config:
    path = config.sidecar.configuration
    return load_config(Path(path) if path else None, {})


def find_base(name: str, kind: str, registry: str = "", role: str = "") -> Base:
    """The folder of a name. Raises ModelError, ConfigurationError, StorageError, and what a
    registry raises for a model that it does not have."""
    name = name or CARRIED_OF_ROLE[role or _ROLE_OF_KIND[kind]]
    if name.startswith(REGISTRY_PREFIX):
        return _published(name.removeprefix(REGISTRY_PREFIX), registry)
    if "/" not in name and (CARRIED / name / CONTRACT_FILE).is_file():
        folder = CARRIED / name
    else:
        folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ModelError(_unknown(name))
    if (folder / _ADAPTER_FILE).is_file():
        raise ModelError(
            f"{folder} holds an adapter, no model: merge it into its base first "
            "(the folder `model` beside it has it merged)"
        )
    return Base(folder, *_named(folder))


def _published(name: str, registry: str) -> Base:
    model, _, version = name.partition("@")
    if not registry:
        raise ConfigurationError(f"{REGISTRY_PREFIX}{name}: publish.registry says no registry")
    fetched = Registry(open_store(registry, _cache())).fetch(model, version or PRODUCTION)
    contract = json.loads((fetched.folder / CONTRACT_FILE).read_text(encoding="utf-8"))
    return Base(fetched.folder, model, str(contract["revision"]))


def _named(folder: Path) -> tuple[str, str]:
    """Name and revision: of the contract, else the folder's name and a digest of the weights."""
    base = Base(folder, "", "")
    contract, spec = base.read(CONTRACT_FILE), base.read(SPEC_FILE)
    name = str(contract.get("name") or spec.get("base") or folder.resolve().name)
    return name, str(contract.get("revision") or _digest_of_weights(folder))


def _digest_of_weights(folder: Path) -> str:
    files = sorted(file for pattern in _WEIGHTS for file in folder.glob(pattern))
    if not files:
        raise ModelError(_no_weights(folder))
    return digest_of(*files)[:12]


def _no_weights(folder: Path) -> str:
    if any(folder.glob("pytorch_model*.bin")):
        return (
            f"{folder} holds its weights as a pickle, which can run code and is not read: "
            "save the model with save_pretrained"
        )
    return f"{folder} holds no weights: *.safetensors, or model.onnx with contract.json"


def _unknown(name: str) -> str:
    known = carried_names()
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    return (
        f"there is no model {name!r}{hint}: give a folder that exists, a carried name "
        f"({', '.join(known)}) or {REGISTRY_PREFIX}NAME"
    )


def _cache() -> Path:
    """Where versions of a registry at an address are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "search-sidecar" / "registry"
