"""What the doctor says of configurations that would not run, and of memory."""

import json
import math
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest
from feedbacks import HOUR, NOON, an_event, an_impression, submitted

from sidecar.storage.feedback.journal import Journal
from sidecar.storage.feedback.roll import roll
from sidecar.storage.feedback.rows import to_row
from training.__main__ import main
from training.config import FineTuneConfig, TrainingConfig
from training.config_file import load_training_config
from training.doctor.findings import Finding, Level, stops
from training.doctor.inputs import look_at_inputs
from training.doctor.model_size import (
    ModelSize,
    activation_bytes,
    read_size,
    trained_parameters,
    weights_bytes,
)
from training.doctor.models import look_at_models
from training.doctor.places import look_at_places
from training.doctor.sidecar import look_at_sidecar

SMALL = ModelSize(parameters=1000, layers=2, hidden=8, heads=4)


def configured(folder: Path, text: str) -> TrainingConfig:
    path = folder / "train.toml"
    path.write_text(text)
    return load_training_config(path)


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {one.about: one for one in findings}


def logged(folder: Path, roll_it: bool = True) -> Path:
    """A feedback folder with two impressions and a click, rolled or not."""
    folder.mkdir(parents=True)
    journal = Journal(folder)
    journal.write([to_row(an_impression(n)) for n in (1, 2)], [submitted(an_event("e", 1))])
    journal.close()
    if roll_it:
        roll(folder, NOON + 40 * HOUR)
    return folder


def test_a_sidecar_that_is_not_there(tmp_path: Path) -> None:
    config = configured(tmp_path, '[sidecar]\naddress = "127.0.0.1:1"\ncollection = "c"\n')
    found = by_name(look_at_sidecar(config))["sidecar"]
    assert found.level is Level.FAIL
    assert "no sidecar answers on 127.0.0.1:1" in found.told
    assert "start `sidecar serve`" in found.advice


def test_nobody_who_has_the_documents(tmp_path: Path) -> None:
    assert stops(look_at_sidecar(TrainingConfig()))
    config = configured(tmp_path, '[collect]\ncorpus = "corpus.jsonl"\n')
    assert not stops(look_at_sidecar(config))


def test_documents_that_come_with_judgments(tmp_path: Path) -> None:
    config = configured(tmp_path, f'[collect]\njudgments = ["{tmp_path}:train"]\n')
    (found,) = look_at_sidecar(config)
    assert found.level is Level.WARN
    assert "only documents in labelled rows" in found.told
    (tmp_path / "corpus.jsonl").touch()
    (found,) = look_at_sidecar(config)
    assert found.level is Level.OK


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    assert stops(look_at_inputs(TrainingConfig()))
    config = configured(tmp_path, f'[collect]\nfeedback = ["{tmp_path}/none"]\n')
    assert "none is not there" in by_name(look_at_inputs(config))["feedback"].told


def test_a_log_that_was_not_rolled(tmp_path: Path) -> None:
    folder = logged(tmp_path / "data" / "feedback", roll_it=False)
    config = configured(tmp_path, f'[collect]\nfeedback = ["{folder}"]\n')
    (found,) = look_at_inputs(config)
    assert found.level is Level.FAIL
    assert "3 rows wait in its database" in found.told
    assert f"sidecar feedback roll --all --data {folder.parent}" in found.advice


def test_a_small_log_is_said_to_be_small(tmp_path: Path) -> None:
    folder = logged(tmp_path / "data" / "feedback")
    config = configured(tmp_path, f'[collect]\nfeedback = ["{folder}"]\n')
    (found,) = look_at_inputs(config)
    assert found.level is Level.WARN
    assert "2 impressions and 1 events" in found.told


def test_files_that_are_named_and_not_there(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"query": "a"}\n\n{"query": "b"}\n')
    config = configured(
        tmp_path,
        f'[collect]\nfeedback = ["{tmp_path}/log.jsonl"]\njudgments = ["{tmp_path}/set:dev"]\n'
        f'corpus = "{tmp_path}"\n[evaluate]\njudged = "{tmp_path}/other"\n',
    )
    found = by_name(look_at_inputs(config))
    assert (found["feedback"].level, found["feedback"].told[-7:]) == (Level.OK, "2 lines")
    for about in ("judgments", "corpus", "evaluate.judged"):
        assert found[about].level is Level.FAIL, about
    assert found["judgments"].told == f"{tmp_path}/set:dev is not there"


def safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    """The format's header, and no more."""
    header = {name: {"dtype": "F32", "shape": shape} for name, shape in shapes.items()}
    text = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def test_the_size_of_a_model_from_its_files(tmp_path: Path) -> None:
    sizes = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 8}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    safetensors(tmp_path / "model-1.safetensors", {"a": [10, 64], "b": [64]})
    safetensors(tmp_path / "model-2.safetensors", {"c": [2, 3, 4]})
    assert read_size(tmp_path) == ModelSize(640 + 64 + 24, 3, 64, 8)


@pytest.mark.parametrize(
    ("method", "trained", "weights"),
    [
        ("full", 1000, 16 * 1000),
        ("lora", 4 * 18 * 8 * 2, 16 * 1152 + 4 * 1000),
        ("qlora", 4 * 18 * 8 * 2, 16 * 1152 + 0.55 * 1000),
        ("prefix", 5 * 2 * 2 * 8, 16 * 160 + 4 * 1000),
    ],
)
def test_what_weights_take(method: str, trained: int, weights: float) -> None:
    config = FineTuneConfig(method=method, lora_rank=4, prefix_tokens=5)
    assert trained_parameters(SMALL, config) == trained
    assert math.isclose(weights_bytes(SMALL, config), weights)


def test_what_activations_take() -> None:
    whole = FineTuneConfig(chunk_tokens=100, query_tokens=4, passage_tokens=6)
    # 34 h + 5 a s values a token and layer, of 2 bytes in 16 bits and twice that in fp32
    layer = 34 * 8 + 5 * 4 * 10
    assert activation_bytes(SMALL, whole) == 100 * 2 * layer * 2
    in_half = FineTuneConfig(chunk_tokens=100, query_tokens=4, passage_tokens=6, precision="bf16")
    assert activation_bytes(SMALL, in_half) == activation_bytes(SMALL, whole) / 2
    kept = FineTuneConfig(chunk_tokens=100, query_tokens=4, passage_tokens=6, checkpointing=True)
    assert activation_bytes(SMALL, kept) == 100 * (2 * 8 * 4 + layer * 2)


def test_a_base_that_is_not_there(tmp_path: Path) -> None:
    config = configured(tmp_path, '[bi_encoder]\nbase = "all-minilm"\n[reranker]\ntrain = false\n')
    found = by_name(look_at_models(config))
    assert found["bi_encoder.base"].level is Level.FAIL
    assert "all-minilm-l6-v2" in found["bi_encoder.base"].told
    assert found["reranker"].told == "is not trained"


def test_a_base_that_memory_does_not_hold(tmp_path: Path, monkeypatch) -> None:
    sizes = {"num_hidden_layers": 36, "hidden_size": 2560, "num_attention_heads": 32}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    safetensors(tmp_path / "model.safetensors", {"all": [4_000_000, 1000]})
    config = configured(tmp_path, f'[bi_encoder]\nbase = "{tmp_path}"\n[reranker]\ntrain = false\n')
    monkeypatch.setattr("training.doctor.models.free_bytes", lambda: 24 * 2.0**30)
    found = by_name(look_at_models(config))["bi_encoder memory"]
    assert found.level is Level.FAIL
    assert "4000.0 million" in found.told
    assert 'bi_encoder.method = "lora"' in found.advice


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = configured(tmp_path, f'[publish]\nregistry = "{tmp_path}/models"\n')
    found = by_name(look_at_places(config, tmp_path / "runs" / "one"))
    assert found["run"].level is Level.OK
    assert found["registry"].told == f"{tmp_path}/models (is made) can be written"
    assert list(tmp_path.iterdir()) == [tmp_path / "file", tmp_path / "train.toml"]


def test_the_exit_code_says_whether_it_would_run(tmp_path: Path, capsys) -> None:
    (tmp_path / "train.toml").write_text('[sidecar]\naddress = "127.0.0.1:1"\n')
    assert main(["doctor", str(tmp_path / "train.toml"), "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert {row["level"] for row in rows} >= {"ok", "fail"}
    assert next(row for row in rows if row["about"] == "inputs")["told"] == "nothing to learn from"
