"""Which models are measured beside one another: what serves, what came before, what is new."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidecar.config import RegistryConfig
from sidecar.errors import ConfigurationError, InputFileError
from sidecar.models.hub import CARRIED
from sidecar.storage.registry import open_registry
from training.config import TrainingConfig
from training.evaluation.lineup import BESIDE, CANDIDATE, PRODUCTION, ZERO_SHOT, lineup
from training.models.production import Models, served_folder

from .evaluated import config_of, write_export

MODELS = {
    "bi_encoder": "all-minilm-l6-v2",
    "first_reranker": "pair-minilm-l3",
    "second_reranker": "pair-minilm-l6",
}


def inputs_of(root: Path, verdict: str = "") -> dict[str, Path]:
    inputs = {"reranker/export": write_export(root / "reranker" / "export", "pair-minilm-l6")}
    if verdict:
        inputs["bi_encoder/export"] = write_export(root / "bi" / "export", "all-minilm-l6-v2")
        inputs["bi_encoder/gate"] = root / "bi" / "gate"
        inputs["bi_encoder/gate"].mkdir(parents=True)
        told = json.dumps({"verdict": verdict})
        (inputs["bi_encoder/gate"] / "verdict.json").write_text(told)
    return inputs


def published(root: Path, model: str, name: str, promoted: bool = True) -> str:
    """A registry with a version of a carried model; its address."""
    registry = open_registry(RegistryConfig(url=str(root / "registry")), root / "kept")
    version = registry.publish(CARRIED / model, name)
    if promoted:
        registry.move_aliases(name, {"production": version}, {})
    return str(root / "registry")


def test_production_is_what_the_sidecar_is_configured_with(tmp_path: Path) -> None:
    found = lineup(config_of(tmp_path, MODELS), "reranker", inputs_of(tmp_path), tmp_path / "kept")
    assert found.systems[PRODUCTION] == Models(**MODELS)
    candidate = found.systems[CANDIDATE]
    assert candidate.second_reranker == str(tmp_path / "reranker" / "export" / "onnx")
    assert (candidate.bi_encoder, candidate.first_reranker) == (
        MODELS["bi_encoder"],
        MODELS["first_reranker"],
    )
    assert set(found.systems) == {PRODUCTION, CANDIDATE}
    assert found.config.first_reranker.depth == 20
    assert "zero-shot is production" in found.notes[0]


def test_where_nothing_serves_training_began_with_the_carried_model(tmp_path: Path) -> None:
    config = config_of(tmp_path, {**MODELS, "second_reranker": ""})
    found = lineup(config, "reranker", inputs_of(tmp_path), tmp_path / "kept")
    assert found.systems[PRODUCTION].second_reranker == ""
    assert found.systems[ZERO_SHOT].second_reranker == "pair-minilm-l6"


def test_without_a_configuration_it_is_the_carried_models(tmp_path: Path) -> None:
    found = lineup(TrainingConfig(), "reranker", inputs_of(tmp_path), tmp_path / "kept")
    assert found.systems[PRODUCTION] == Models(**MODELS)


def test_the_version_in_production_is_what_serves(tmp_path: Path) -> None:
    url = published(tmp_path, "pair-minilm-l3", "pair-minilm")
    config = config_of(tmp_path, MODELS, f"publish.registry={url}", "reranker.base=pair-minilm-l6")
    found = lineup(config, "reranker", inputs_of(tmp_path), tmp_path / "kept")
    served = Path(found.systems[PRODUCTION].second_reranker)
    told = json.loads((served / "contract.json").read_text())
    assert told["revision"].startswith("1-")
    assert found.systems[PRODUCTION].bi_encoder == MODELS["bi_encoder"]
    assert found.systems[ZERO_SHOT].second_reranker == "pair-minilm-l6"


def test_what_the_sidecar_takes_from_the_registry_is_what_serves(tmp_path: Path) -> None:
    url = published(tmp_path, "pair-minilm-l3", "ours")
    published(tmp_path, "pair-minilm-l6", "pair-minilm")
    models = {**MODELS, "second_reranker": "registry:ours"}
    config = config_of(tmp_path, models, f"publish.registry={url}")
    found = lineup(config, "reranker", inputs_of(tmp_path), tmp_path / "kept")
    assert "/ours/" in found.systems[PRODUCTION].second_reranker


def test_a_version_that_was_not_promoted_does_not_serve(tmp_path: Path) -> None:
    url = published(tmp_path, "pair-minilm-l3", "pair-minilm", promoted=False)
    config = config_of(tmp_path, MODELS, f"publish.registry={url}")
    found = lineup(config, "reranker", inputs_of(tmp_path), tmp_path / "kept")
    assert found.systems[PRODUCTION] == Models(**MODELS)
    missing = config_of(
        tmp_path, MODELS, f"publish.registry={url}", "reranker.base=registry:pair-minilm"
    )
    with pytest.raises(ConfigurationError, match="registry:pair-minilm"):
        lineup(missing, "reranker", inputs_of(tmp_path / "other"), tmp_path / "kept")


@pytest.mark.parametrize("verdict", ["accepted", "refused"])
def test_a_reranker_is_measured_with_the_bi_encoder_that_was_accepted(
    tmp_path: Path, verdict: str
) -> None:
    inputs = inputs_of(tmp_path, verdict)
    found = lineup(config_of(tmp_path, MODELS), "reranker", inputs, tmp_path / "kept")
    new = str(tmp_path / "bi" / "export" / "onnx")
    accepted = verdict == "accepted"
    assert found.systems[PRODUCTION] == Models(**MODELS)
    assert (found.systems[CANDIDATE].bi_encoder == new) == accepted
    assert (BESIDE in found.systems) == accepted
    if accepted:
        assert found.systems[BESIDE] == Models(**{**MODELS, "bi_encoder": new})


def test_models_run_in_this_process(tmp_path: Path) -> None:
    config = config_of(tmp_path, MODELS)
    with (tmp_path / "sidecar.toml").open("a") as file:
        file.write('vllm_urls = "http://127.0.0.1:1"\n')
    found = lineup(config, "reranker", inputs_of(tmp_path), tmp_path / "kept")
    assert found.config.second_reranker.vllm_urls == ""


def test_an_export_says_what_serves(tmp_path: Path) -> None:
    export = write_export(tmp_path / "export", "pair-minilm-l3")
    assert served_folder(export) == export / "onnx"
    (export / "export.json").write_text("{}")
    with pytest.raises(InputFileError, match="does not say what serves"):
        served_folder(export)
