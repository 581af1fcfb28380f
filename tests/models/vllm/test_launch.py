"""Which servers are started for a configuration, and with what command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sidecar.config import BiEncoderConfig, Config, RerankerConfig, VllmConfig
from sidecar.errors import ConfigurationError, ModelError
from sidecar.models.hub import CARRIED
from sidecar.models.vllm.attachment import split_urls
from sidecar.models.vllm.folder import read_served_folder
from sidecar.models.vllm.launch import MODULE, memory_shares, plan_launches, server_options


def make_folder(path: Path, architecture: str, weights: bool = True, **config: Any) -> Path:
    path.mkdir()
    shutil.copy(CARRIED / "pair-minilm-l6" / "tokenizer.json", path)
    tree = {"architectures": [architecture], "num_labels": 1, **config}
    (path / "config.json").write_text(json.dumps(tree))
    if weights:
        (path / "model.safetensors").write_bytes(b"weights")
    return path


def options_of(path: Path, config: VllmConfig = VllmConfig()) -> dict[str, str]:  # noqa: B008
    return server_options(read_served_folder(str(path), "", "cross-encoder"), 0.4, config)


def test_an_encoder_is_started_as_it_is(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "m", "BertForSequenceClassification", max_position_embeddings=512)
    options = options_of(path, VllmConfig(dtype="half", max_num_batched_tokens=4096))
    assert options["--model"] == str(path)
    assert options["--runner"] == "pooling"
    assert options["--dtype"] == "half"
    assert options["--max-model-len"] == "512"
    assert options["--max-num-batched-tokens"] == "4096"
    assert options["--gpu-memory-utilization"] == "0.4"
    assert not {"--hf-overrides", "--chat-template"} & set(options)


def test_a_step_holds_at_least_the_longest_input(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "m", "BertForSequenceClassification")
    config = VllmConfig(max_model_len=300, max_num_batched_tokens=100)
    assert options_of(path, config)["--max-num-batched-tokens"] == "300"


def test_qwen3_is_read_as_a_classifier_of_yes_and_no(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "m", "Qwen3ForCausalLM", max_position_embeddings=40960)
    options = options_of(path)
    overrides = json.loads(options["--hf-overrides"])
    assert overrides["classifier_from_token"] == ["no", "yes"]
    assert overrides["architectures"] == ["Qwen3ForSequenceClassification"]
    assert overrides["is_original_qwen3_reranker"] is True
    assert Path(options["--chat-template"]).name == "qwen3_reranker.jinja"
    assert options["--max-model-len"] == "8192"


def test_qwen3_made_a_classifier_needs_the_template_alone(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "m", "Qwen3ForSequenceClassification")
    options = options_of(path)
    assert "--chat-template" in options
    assert "--hf-overrides" not in options


def test_other_causal_models_are_for_people_to_start(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="start vLLM for it yourself"):
        options_of(make_folder(tmp_path / "m", "GemmaForCausalLM"))


def test_a_template_that_is_missing_is_said(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "m", "Qwen3ForCausalLM")
    with pytest.raises(ModelError, match=r"vllm\.chat_template: there is no file"):
        options_of(path, VllmConfig(chat_template="none.jinja"))


def test_models_with_weights_for_vllm_get_a_server_the_others_do_not(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "m", "BertForSequenceClassification")
    config = Config(
        bi_encoder=BiEncoderConfig(vllm_urls="http://elsewhere:8000"),
        first_reranker=RerankerConfig(model="pair-minilm-l3"),
        second_reranker=RerankerConfig(model=str(path)),
        vllm=VllmConfig(python="/opt/python", extra_arguments="--seed 1 --max-num-seqs '64'"),
    )
    [launch] = plan_launches(config)
    assert (launch.section, launch.model) == ("second_reranker", str(path))
    assert launch.command[:3] == ("/opt/python", "-m", MODULE)
    assert launch.command[-4:] == ("--seed", "1", "--max-num-seqs", "64")
    assert launch.url.rpartition(":")[2] in launch.command
    assert launch.environment["HF_HUB_OFFLINE"] == "1"


def test_no_model_for_vllm_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match="no configured model is for vLLM"):
        plan_launches(Config())


@pytest.mark.parametrize(
    ("configured", "shares"),
    [
        ({"a": 0.0}, {"a": 0.9}),
        ({"a": 0.0, "b": 0.0}, {"a": 0.45, "b": 0.45}),
        ({"a": 0.3, "b": 0.0, "c": 0.0}, {"a": 0.3, "b": 0.3, "c": 0.3}),
        ({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}),
    ],
)
def test_memory_shares(configured: dict[str, float], shares: dict[str, float]) -> None:
    assert memory_shares(configured) == pytest.approx(shares)


@pytest.mark.parametrize("configured", [{"a": 0.8, "b": 0.3}, {"a": 0.9, "b": 0.0}, {"a": -0.1}])
def test_memory_shares_that_do_not_fit(configured: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=r"vllm\.\*_memory"):
        memory_shares(configured)


def test_urls() -> None:
    assert split_urls(" http://a:1/ , https://b ,") == ("http://a:1", "https://b")
    for text in ("localhost:8000", " , "):
        with pytest.raises(ConfigurationError, match="give URLs such as"):
            split_urls(text)
