"""What the configuration takes from the registry."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from registries import model_folder

from sidecar.config import Config, RegistryConfig, RerankerConfig
from sidecar.errors import ConfigurationError, ModelNotFoundError
from sidecar.pipeline.resolution import configured_registry, resolve_models
from sidecar.pipeline.variant import CONFIGURED, Origin

CONFIG = Config(
    first_reranker=RerankerConfig(model="pair-minilm-l3"),
    second_reranker=RerankerConfig(model="registry:second", depth=7),
)


def with_registry(folder: Path, config: Config = CONFIG) -> Config:
    return dataclasses.replace(config, registry=RegistryConfig(url=str(folder / "registry")))


def test_a_name_of_the_registry_becomes_the_folder_of_its_production_version(
    tmp_path: Path,
) -> None:
    config = with_registry(tmp_path)
    registry = configured_registry(config, tmp_path)
    assert registry is not None
    for _ in range(2):
        registry.publish(model_folder(tmp_path / "model", licence="any"), "second")
        registry.move_aliases("second", {"production": "1"}, registry.aliases("second"))
        (tmp_path / "model").rename(tmp_path / f"model-{len(registry.versions('second'))}")
    resolved, origins = resolve_models(config, registry)
    folder = tmp_path / "registry" / "second" / "versions" / "1"
    assert resolved.second_reranker == RerankerConfig(model=str(folder), depth=7)
    assert resolved.first_reranker == config.first_reranker
    assert origins == {
        "bi_encoder": CONFIGURED,
        "first_reranker": CONFIGURED,
        "second_reranker": Origin("second", "1"),
    }


def test_without_a_name_of_the_registry_nothing_changes(tmp_path: Path) -> None:
    assert configured_registry(Config(), tmp_path) is None
    resolved, origins = resolve_models(Config(), None)
    assert resolved == Config()
    assert set(origins.values()) == {CONFIGURED}


def test_what_cannot_be_resolved_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"second_reranker.model .*registry.url"):
        resolve_models(CONFIG, None)
    config = with_registry(tmp_path)
    with pytest.raises(ModelNotFoundError, match="no alias 'production'"):
        resolve_models(config, configured_registry(config, tmp_path))
    both = dataclasses.replace(config, first_reranker=RerankerConfig(model="registry:second"))
    with pytest.raises(ConfigurationError, match="two roles"):
        resolve_models(both, configured_registry(both, tmp_path))
