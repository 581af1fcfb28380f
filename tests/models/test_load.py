"""Carried models through the loader, as `sidecar serve` uses it."""

import dataclasses
import json
import math
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from scoring import pairs_of, scores_of

from sidecar.config import BiEncoderConfig, RerankerConfig, RuntimeConfig
from sidecar.errors import ModelError, ModelRefusedError
from sidecar.models.base import BiEncoder, CrossEncoder
from sidecar.models.contract import read_contract
from sidecar.models.cross_encoder import LocalCrossEncoder
from sidecar.models.hub import CARRIED
from sidecar.models.load import close_model, load_bi_encoder, load_cross_encoder
from sidecar.models.machine import read_machine
from sidecar.models.runtime import Choice, Runtime
from sidecar.models.runtime_choice import (
    OUT_OF_TIME,
    OpenRuntime,
    RuntimeChoice,
    TrialRow,
    choose_runtime,
)
from sidecar.models.runtime_choice_file import CHOICE_FILE, choice_key, keep_choice, read_choice
from sidecar.models.subject import Subject
from sidecar.types import Truncation

FIXED = RuntimeConfig(runtime="onnxruntime", precision="fp32")
RERANKERS = ("pair-minilm-l3", "pair-minilm-l6")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def cross_encoder(name: str, data_dir: Path, runtime: RuntimeConfig = FIXED) -> CrossEncoder:
    loaded = load_cross_encoder(RerankerConfig(model=name), runtime, data_dir)
    assert loaded is not None
    return loaded


def bi_encoder(data_dir: Path) -> BiEncoder:
    loaded = load_bi_encoder(BiEncoderConfig(), FIXED, data_dir)
    assert loaded is not None
    return loaded


def test_no_model_is_none(data_dir: Path) -> None:
    assert load_cross_encoder(RerankerConfig(model=""), FIXED, data_dir) is None
    assert load_bi_encoder(BiEncoderConfig(model=""), FIXED, data_dir) is None


@pytest.mark.parametrize("name", RERANKERS)
def test_golden_pairs_of_cross_encoders(name: str, data_dir: Path) -> None:
    model = cross_encoder(name, data_dir)
    assert model.contract.golden_pairs
    for query, passage, score in model.contract.golden_pairs:
        assert scores_of(model, query, [passage])[0] == pytest.approx(score, abs=1e-4)


def test_golden_pairs_of_the_bi_encoder(data_dir: Path) -> None:
    model = bi_encoder(data_dir)
    assert model.contract.golden_pairs
    queries, passages, scores = zip(*model.contract.golden_pairs, strict=True)
    vectors, others = model.encode_queries(queries), model.encode_passages(passages)
    np.testing.assert_allclose(np.einsum("nd,nd->n", vectors, others), scores, atol=1e-4)


def test_vectors_are_normalised_in_order_and_alike_in_any_batch(data_dir: Path) -> None:
    model = bi_encoder(data_dir)
    texts = ["boil eggs", "a much longer text about boiling eggs " * 12, "", "hiking boots"] * 12
    vectors = model.encode_passages(texts)
    assert vectors.shape == (48, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(vectors[:4], vectors[44:], atol=1e-5)
    alone = np.concatenate([model.encode_passages([text]) for text in texts[:4]])
    np.testing.assert_allclose(vectors[:4], alone, atol=1e-5)
    assert model.encode_passages([]).shape == (0, 384)


def test_the_serving_path_does_not_import_torch(data_dir: Path) -> None:
    code = (
        "import asyncio, sys, pathlib\n"
        "from sidecar.config import RerankerConfig, RuntimeConfig\n"
        "from sidecar.models.load import load_cross_encoder\n"
        "from sidecar.types import Truncation\n"
        "runtime = RuntimeConfig(runtime='onnxruntime', precision='fp32')\n"
        f"data_dir = pathlib.Path({str(data_dir)!r})\n"
        "model = load_cross_encoder(RerankerConfig(model='pair-minilm-l3'), runtime, data_dir)\n"
        "pairs = model.tokenize('eggs', ['boil eggs'], Truncation())[0].pairs\n"
        "print(asyncio.run(model.score(pairs)).shape)\n"
        "print(sorted({'torch', 'transformers', 'onnx'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["(1,)", "[]"]


def test_the_choice_is_kept_and_reused(tmp_path: Path) -> None:
    cross_encoder("pair-minilm-l3", tmp_path)
    kept = json.loads((tmp_path / CHOICE_FILE).read_text())
    assert [entry["choice"]["runtime"] for entry in kept.values()] == ["onnxruntime"]
    before = (tmp_path / CHOICE_FILE).stat().st_mtime_ns
    cross_encoder("pair-minilm-l3", tmp_path)
    assert (tmp_path / CHOICE_FILE).stat().st_mtime_ns == before


def test_a_kept_choice_that_gives_other_scores_is_chosen_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contract = read_contract(CARRIED / "pair-minilm-l3" / "contract.json")
    wrong = tuple(score + 100.0 for _, _, score in contract.golden_pairs)
    kept = RuntimeChoice(Choice("openvino", "fp32"), wrong, 1.0, True, ())
    key = choice_key(read_machine(), contract, FIXED)
    keep_choice(tmp_path, key, kept)
    model = cross_encoder("pair-minilm-l3", tmp_path)
    assert "choosing anew" in caplog.text
    assert np.isfinite(scores_of(model, "eggs", ["boil eggs"])).all()


def test_what_was_not_tried_is_said_with_the_command_that_tries_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When it is chosen, and again when the kept choice serves."""
    allowed = []

    def cut(
        subject: Subject, choices: list[Choice], open_runtime: OpenRuntime, seconds: float
    ) -> tuple[RuntimeChoice, Runtime]:
        allowed.append(seconds)
        chosen, runtime = choose_runtime(subject, choices, open_runtime)
        row = TrialRow("m", "1", "openvino", "bf16", "latency", 0.0, 0.0, math.inf, OUT_OF_TIME)
        return dataclasses.replace(chosen, rows=(*chosen.rows, row)), runtime

    monkeypatch.setattr("sidecar.models.load.choose_runtime", cut)
    fixed = dataclasses.replace(FIXED, choice_seconds=7.0)
    for _ in range(2):
        caplog.clear()
        close_model(cross_encoder("pair-minilm-l3", tmp_path, fixed))
        assert "not tried: openvino bf16 latency" in caplog.text
        assert f"`sidecar calibrate --data {tmp_path}`" in caplog.text
    assert allowed == [7.0]


@pytest.mark.parametrize("score", [-40.0, float("nan"), float("inf")])
def test_a_model_that_leaves_its_golden_pairs_is_not_served(tmp_path: Path, score: float) -> None:
    folder = tmp_path / "model"
    shutil.copytree(CARRIED / "pair-minilm-l3", folder)
    contract = json.loads((folder / "contract.json").read_text())
    contract["golden_pairs"][3]["score"] = score
    (folder / "contract.json").write_text(json.dumps(contract))
    with pytest.raises(ModelError, match="golden pairs"):
        cross_encoder(str(folder), tmp_path)
    assert not (tmp_path / CHOICE_FILE).exists()


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_damaged_file_is_refused_before_it_is_opened(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(CARRIED / "pair-minilm-l3", folder)
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} is not the file"):
        cross_encoder(str(folder), tmp_path)


def test_budgets_above_the_contracts_are_lowered(data_dir: Path) -> None:
    model = cross_encoder("pair-minilm-l6", data_dir)
    contract = model.contract
    assert contract.max_passage_tokens > 0
    pair = pairs_of(model, "eggs", ["egg " * 400], Truncation(64, 400))[0]
    assert pair.length == 3 + 1 + contract.max_passage_tokens
    lower = pairs_of(model, "eggs", ["egg " * 400], Truncation(64, 20))[0]
    assert lower.length == 3 + 1 + 20


def test_an_unknown_precision_for_a_runtime_is_an_error(data_dir: Path) -> None:
    runtime = dataclasses.replace(FIXED, precision="bf16")
    with pytest.raises(ModelError, match=r"runtime\.precision"):
        cross_encoder("pair-minilm-l3", data_dir, runtime)


def test_eight_bits_without_a_file_are_refused(data_dir: Path) -> None:
    with pytest.raises(ModelError, match="no choice"):
        cross_encoder("pair-minilm-l3", data_dir, RuntimeConfig(precision="int8"))


def newcomer(folder: Path, **changes: object) -> str:
    """A folder with the carried model as another version of it."""
    shutil.copytree(CARRIED / "pair-minilm-l3", folder)
    path = folder / "contract.json"
    tree = json.loads(path.read_text()) | {"revision": "2-newcomer"} | changes
    path.write_text(json.dumps(tree))
    return str(folder)


def load_beside(folder: str, data_dir: Path) -> CrossEncoder | None:
    like = read_contract(CARRIED / "pair-minilm-l3" / "contract.json")
    return load_cross_encoder(RerankerConfig(model=folder), FIXED, data_dir, like=like)


@pytest.fixture
def no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be timed."""
    monkeypatch.delattr("sidecar.models.load.choose_runtime")


@pytest.mark.usefixtures("no_trial")
def test_a_version_beside_another_runs_as_that_one_does_and_is_not_timed(tmp_path: Path) -> None:
    like = read_contract(CARRIED / "pair-minilm-l3" / "contract.json")
    choice = Choice("openvino", "fp32")
    golden = tuple(score for *_, score in like.golden_pairs)
    untried = TrialRow("m", "1", "openvino", "bf16", "latency", 0.0, 0.0, math.inf, OUT_OF_TIME)
    kept = RuntimeChoice(choice, golden, 1.0, True, (untried,))
    keep_choice(tmp_path, choice_key(read_machine(), like, FIXED), kept)
    for _ in range(2):  # the second time as it was kept for the version itself
        model = load_beside(newcomer(tmp_path / uuid.uuid4().hex), tmp_path)
        assert isinstance(model, LocalCrossEncoder)
        assert model.runtime.choice == choice
        for query, passage, score in model.contract.golden_pairs:
            assert scores_of(model, query, [passage])[0] == pytest.approx(score, abs=1e-3)
        assert model.batch_invariant
        known = read_choice(tmp_path, choice_key(read_machine(), model.contract, FIXED))
        assert known is not None
        assert known.untried == (Choice("openvino", "bf16", "latency"),)
        assert {row.revision for row in known.rows} == {model.contract.revision}
        model.close()
    entries = json.loads((tmp_path / CHOICE_FILE).read_text())
    assert sum("2-newcomer" in key for key in entries) == 1


@pytest.mark.usefixtures("no_trial")
def test_where_nothing_is_known_a_version_beside_another_runs_in_fp32(tmp_path: Path) -> None:
    model = load_beside(newcomer(tmp_path / "model"), tmp_path)
    assert isinstance(model, LocalCrossEncoder)
    assert model.runtime.choice == Choice("onnxruntime", "fp32")


@pytest.mark.usefixtures("no_trial")
@pytest.mark.parametrize("off", [0.5, float("nan")])
def test_a_version_off_its_golden_pairs_cannot_take_a_place(tmp_path: Path, off: float) -> None:
    tree = json.loads((CARRIED / "pair-minilm-l3" / "contract.json").read_text())
    tree["golden_pairs"][1]["score"] += off
    with pytest.raises(ModelRefusedError, match="golden pair is off"):
        load_beside(newcomer(tmp_path / "model", golden_pairs=tree["golden_pairs"]), tmp_path)
    with pytest.raises(ModelRefusedError, match="no golden pairs"):
        load_beside(newcomer(tmp_path / "without", golden_pairs=[]), tmp_path)
    assert not (tmp_path / CHOICE_FILE).exists()
