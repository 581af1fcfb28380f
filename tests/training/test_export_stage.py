"""The stages train and export after one another, for families that transformers brings."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

from sidecar.config import BiEncoderConfig, RerankerConfig, RuntimeConfig
from sidecar.models.bi_encoder import LocalBiEncoder
from sidecar.models.load import load_bi_encoder, load_cross_encoder
from sidecar.types import Truncation
from training.config import ExportConfig, FineTuneConfig, TrainingConfig
from training.exporting.dev_pairs import DevPairs, pair_values
from training.exporting.earlier_stage import FirstStage, open_trained, stage_before
from training.fine_tuning.opening import open_base
from training.fine_tuning.scoring import score_pairs
from training.lists import Split, write_lists, write_passages
from training.run_files import LISTS_FILE, PASSAGES_FILE
from training.stages import export, train

from .dev_task import dev_pairs
from .tiny_models import write_encoder
from .works import work_for

ONE_THREAD = RuntimeConfig(runtime="onnxruntime", precision="fp32", threads=1)
FIGURES = {"serves", "weight", "revision", "dev_trained", "dev_served", "parity_rank_correlation"}


def configured(model, base, **changed):
    section = FineTuneConfig(
        loss="listwise_softmax",
        base=str(base),
        lists_per_step=8,
        max_steps=4,
        learning_rate=1e-3,
        query_tokens=10,
        passage_tokens=40,
        evaluations=1,
        precision="fp32",
        role="bi_encoder" if model == "bi_encoder" else "second_reranker",
        **changed,
    )
    return TrainingConfig(export=ExportConfig(parity_pairs=60), **{model: section})


def mined(root, model):
    """A few lists, half of them to learn from."""
    dev = dev_pairs(lists=24)
    folder = root / model / "mine"
    folder.mkdir(parents=True)
    lists = [
        dataclasses.replace(one, split=Split.TRAIN if number % 2 else Split.DEV)
        for number, one in enumerate(dev.lists)
    ]
    write_lists(lists, folder / LISTS_FILE)
    write_passages(dev.passages, folder / PASSAGES_FILE)
    return DevPairs(lists, dev.passages)


def run_stages(root, model, config):
    train.run(work_for(f"{model}/train", root, config, [f"{model}/mine"]))
    work = work_for(f"{model}/export", root, config, [f"{model}/mine", f"{model}/train"])
    return export.run(work), work.out


@pytest.mark.parametrize(("family", "method"), [("xlm_roberta", "full"), ("modernbert", "lora")])
async def test_a_reranker_is_trained_exported_and_served(family, method, tmp_path):
    write_encoder(tmp_path / "base", family, "cross-encoder")
    dev = mined(tmp_path, "reranker")
    config = configured("reranker", tmp_path / "base", method=method)
    figures, out = run_stages(tmp_path, "reranker", config)
    assert figures.keys() >= FIGURES
    assert figures["serves"] == "onnx"
    assert figures["parity_rank_correlation"] > 0.99
    assert json.loads((out / "export.json").read_text())["serves"] == "onnx"
    trained = open_trained(tmp_path / "reranker" / "train", "reranker")
    before = open_base(str(tmp_path / "base"), "cross-encoder", 10, 40)
    pairs = dev.pairs[:12]
    expected = score_pairs(trained, pairs)
    assert np.abs(expected - score_pairs(before, pairs)).max() > 1e-3
    for folder, atol in (("transformers", 1e-4), ("onnx", 0.2)):
        model = load_cross_encoder(
            RerankerConfig(model=str(out / folder)), ONE_THREAD, tmp_path / "data"
        )
        read = [model.tokenize(q, [passage], Truncation())[0].pairs[0] for q, passage in pairs]
        found = await model.score(read)
        model.close()
        np.testing.assert_allclose(found, expected, atol=atol)


@pytest.mark.parametrize("family", ["xlm_roberta", "modernbert"])
def test_a_bi_encoder_is_trained_exported_and_served(family, tmp_path):
    write_encoder(tmp_path / "base", family, "bi-encoder")
    dev = mined(tmp_path, "bi_encoder")
    config = configured("bi_encoder", tmp_path / "base")
    figures, out = run_stages(tmp_path, "bi_encoder", config)
    assert figures["parity_rank_correlation"] > 0.98
    trained = open_trained(tmp_path / "bi_encoder" / "train", "bi_encoder")
    expected = pair_values(trained, dev.pairs[:12])
    model = load_bi_encoder(BiEncoderConfig(model=str(out / "onnx")), ONE_THREAD, tmp_path / "data")
    assert isinstance(model, LocalBiEncoder)
    queries, passages = zip(*dev.pairs[:12], strict=True)
    found = np.einsum("nd,nd->n", model.encode_queries(queries), model.encode_passages(passages))
    model.close()
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_what_comes_before_a_reranker(tmp_path):
    config = TrainingConfig()
    assert stage_before(config, "first_reranker", tmp_path) is None
    assert stage_before(config, "second_reranker", tmp_path) == FirstStage("pair-minilm-l3", 0.4)
    file = tmp_path / "sidecar.toml"
    file.write_text("[first_reranker]\nweight = 0.7\n")
    sidecar = dataclasses.replace(config.sidecar, configuration=str(file))
    config = dataclasses.replace(config, sidecar=sidecar)
    assert stage_before(config, "second_reranker", tmp_path) == FirstStage("pair-minilm-l3", 0.7)
    file.write_text('[first_reranker]\nmodel = ""\n')
    assert stage_before(config, "second_reranker", tmp_path) is None
