"""What export writes serves what was trained: through the sidecar, transformers, and training."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sidecar.config import BiEncoderConfig, RerankerConfig, RuntimeConfig
from sidecar.errors import ConfigurationError, InputFileError
from sidecar.models.contract import read_contract
from sidecar.models.formats import read_folder
from sidecar.models.load import load_bi_encoder, load_cross_encoder
from sidecar.storage.registry import Registry
from sidecar.storage.registry_store import open_store
from sidecar.types import Truncation
from training.config import FineTuneConfig
from training.exporting import export as exporting
from training.exporting.dev_pairs import DevPairs, pair_values, telling_pairs
from training.exporting.export import export, formats_of
from training.exporting.parity import compared
from training.exporting.weight_choice import choose_weight, joined, recall_scores
from training.fine_tuning.adapters import with_adapter
from training.fine_tuning.opening import Opened, open_base
from training.fine_tuning.scoring import score_pairs

from .dev_task import dev_pairs, liked_by, task_of
from .tiny_models import ENCODERS, write_encoder, write_qwen3

ONE_THREAD = RuntimeConfig(runtime="onnxruntime", precision="fp32", threads=1)


@pytest.fixture
def unmeasured(monkeypatch):
    """No server: what a test of the folders alone needs."""

    def served(task, dev, folder, scratch):
        is_pair = task.opened.spec.kind == "cross-encoder"
        return pair_values(task.opened, dev.pairs), recall_scores(dev) if is_pair else None

    monkeypatch.setattr(exporting, "_served", served)


def exported(opened, tmp_path, **config):
    (tmp_path / "out").mkdir()
    figures = export(task_of(opened, **config), tmp_path / "out", tmp_path, lambda _: None)
    return tmp_path / "out", figures


def base(tmp_path, family, kind, *budgets):
    write_encoder(tmp_path / "base", family, kind)
    return open_base(str(tmp_path / "base"), kind, *budgets)


# -- served by the sidecar


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("served", ["onnx", "transformers"])
async def test_a_reranker_is_served_with_the_scores_of_its_weights(
    family, served, tmp_path, unmeasured
):
    opened = base(tmp_path, family, "cross-encoder", 10, 40)
    trained = pair_values(opened, dev_pairs().pairs)
    out, figures = exported(opened, tmp_path)
    config = RerankerConfig(model=str(out / served))
    model = load_cross_encoder(config, ONE_THREAD, tmp_path / "data")
    pairs = dev_pairs().pairs[:40]
    read = [model.tokenize(query, [passage], Truncation())[0].pairs[0] for query, passage in pairs]
    found = await model.score(read)
    model.close()
    if served == "transformers":
        np.testing.assert_allclose(found, trained[:40], atol=1e-4)
    else:  # the model has the stored weights now
        np.testing.assert_allclose(found, score_pairs(opened, pairs), atol=1e-4)
        np.testing.assert_allclose(found, trained[:40], atol=0.2)
    assert figures["serves"] == "onnx"
    assert model.contract.max_query_tokens == 10
    assert model.contract.max_passage_tokens == 40


@pytest.mark.parametrize("family", ENCODERS)
def test_a_bi_encoder_is_served_with_the_vectors_of_its_weights(family, tmp_path, unmeasured):
    opened = base(tmp_path, family, "bi-encoder", 10, 40)
    spec = dataclasses.replace(opened.spec, query_prefix="tide ", pooling="cls")
    opened = dataclasses.replace(opened, spec=spec)
    trained = pair_values(opened, dev_pairs().pairs)
    out, _ = exported(opened, tmp_path)
    for served, atol in (("transformers", 1e-5), ("onnx", 0.05)):
        config = BiEncoderConfig(model=str(out / served))
        model = load_bi_encoder(config, ONE_THREAD, tmp_path / "data")
        queries, passages = zip(*dev_pairs().pairs, strict=True)
        found = np.einsum(
            "nd,nd->n", model.encode_queries(queries), model.encode_passages(passages)
        )
        model.close()
        np.testing.assert_allclose(found, trained, atol=atol)
    np.testing.assert_allclose(found, pair_values(opened, dev_pairs().pairs), atol=1e-5)


@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder"])
def test_parity_is_that_of_a_real_server(kind, tmp_path):
    opened = base(tmp_path, "bert", kind, 10, 40)
    out, figures = exported(opened, tmp_path)
    parity = json.loads((out / "parity.json").read_text())
    assert parity["through"] == "sidecar"
    assert parity["pairs"] >= 150
    assert 0.99 < parity["rank_correlation"] <= 1.0
    found, deviation = parity["measured_difference"], parity["deviation"]
    sure = max(0.0, abs(found) - 1.96 * deviation)
    assert abs(parity["measure_difference"]) == pytest.approx(sure)
    assert abs(found) < 0.05
    assert figures["parity_pairs"] == parity["pairs"]


def test_a_damaged_export_is_seen_in_its_parity(tmp_path, monkeypatch):
    opened = base(tmp_path, "bert", "cross-encoder", 10, 40)
    trained = exporting.build_graph

    def damaged(model, spec, names):
        with torch.no_grad():
            model.bert.encoder.layer[1].output.dense.weight.normal_(std=0.3)
        return trained(model, spec, names)

    monkeypatch.setattr(exporting, "build_graph", damaged)
    out, _ = exported(opened, tmp_path, formats=("onnx",))
    assert json.loads((out / "parity.json").read_text())["rank_correlation"] < 0.99


# -- what the folders say


def test_the_contract_says_what_was_trained(tmp_path, unmeasured):
    opened = base(tmp_path, "bert", "cross-encoder", 10, 40)
    dev = liked_by(opened, dev_pairs())
    (tmp_path / "out").mkdir()
    out = tmp_path / "out"
    export(task_of(opened, dev, golden_pairs=6), out, tmp_path, lambda _: None)
    trees = {}
    for name in ("onnx", "transformers"):
        files = read_folder(out / name, "tiny", "cross-encoder", "")  # digests are checked
        trees[name] = tree = json.loads((out / name / "contract.json").read_text())
        contract = files.contract
        assert (contract.max_query_tokens, contract.max_passage_tokens) == (10, 40)
        assert (tree["head"], tree["activation"], tree["template_digest"]) == (
            "classifier",
            "none",
            "",
        )
        assert (tree["base"], tree["training"]["seed"]) == ("base", 7)
        assert contract.calibration is not None
        assert len(contract.golden_pairs) == 6
        assert set(tree["files"]) >= {"README.md", "config.json", "tokenizer.json"}
        card = (out / name / "README.md").read_text()
        assert "pipeline_tag: text-ranking" in card
        assert "| seed | 7 |" in card
        assert str(tmp_path) not in "".join(
            f.read_text(errors="replace") for f in (out / name).glob("*.*")
        )
    assert trees["onnx"]["revision"] != trees["transformers"]["revision"]
    golden = read_contract(out / "onnx" / "contract.json").golden_pairs
    relevant = {pair for pair, yes in zip(dev.pairs, dev.relevant, strict=True) if yes}
    assert sum((query, passage) in relevant for query, passage, _ in golden) == 3


def test_others_read_the_transformers_folder(tmp_path, unmeasured):
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="the oracle")
    opened = base(tmp_path, "bert", "cross-encoder", 10, 40)
    expected = pair_values(opened, dev_pairs().pairs)[:20]
    out, _ = exported(opened, tmp_path, formats=("transformers",))
    pairs = dev_pairs().pairs[:20]
    model = AutoModelForSequenceClassification.from_pretrained(out / "transformers").eval()
    tokenizer = AutoTokenizer.from_pretrained(out / "transformers")
    texts = tokenizer(*map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt")
    with torch.no_grad():
        np.testing.assert_allclose(model(**texts).logits[:, 0].numpy(), expected, atol=1e-5)
    oracle = sentence_transformers.CrossEncoder(str(out / "transformers"), device="cpu")
    np.testing.assert_allclose(oracle.predict(pairs), expected, atol=1e-5)  # no sigmoid


def test_sentence_transformers_reads_a_bi_encoder_with_its_prompts(tmp_path, unmeasured):
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="the oracle")
    opened = base(tmp_path, "bert", "bi-encoder", 10, 40)
    spec = dataclasses.replace(opened.spec, query_prefix="q: ", passage_prefix="p: ", pooling="cls")
    opened = dataclasses.replace(opened, spec=spec)
    expected = pair_values(opened, dev_pairs().pairs[:10])
    out, _ = exported(opened, tmp_path, formats=("transformers",))
    oracle = sentence_transformers.SentenceTransformer(str(out / "transformers"), device="cpu")
    queries, passages = map(list, zip(*dev_pairs().pairs[:10], strict=True))
    left, right = oracle.encode_query(queries), oracle.encode_document(passages)
    np.testing.assert_allclose(np.einsum("nd,nd->n", left, right), expected, atol=1e-5)


@pytest.mark.parametrize("served", ["onnx", "transformers"])
def test_training_goes_on_from_a_published_version(served, tmp_path, unmeasured):
    opened = base(tmp_path, "modernbert", "cross-encoder", 10, 40)
    before = pair_values(opened, dev_pairs().pairs[:20])
    out, _ = exported(opened, tmp_path)
    after = pair_values(opened, dev_pairs().pairs[:20])
    url = str(tmp_path / "registry")
    version = Registry(open_store(url, tmp_path / "copies")).publish(out / served, "tiny")
    again = open_base(f"registry:tiny@{version}", "cross-encoder", registry=url)
    expected = before if served == "transformers" else after
    np.testing.assert_allclose(pair_values(again, dev_pairs().pairs[:20]), expected, atol=1e-5)
    weight = read_contract(out / served / "contract.json").weight
    kept = (again.spec.query_tokens, again.spec.passage_tokens, again.spec.weight)
    assert kept == (10, 40, weight)


# -- decoders and prefixes


def test_a_decoder_is_written_for_vllm_with_its_prompt(tmp_path):
    write_qwen3(tmp_path / "base")
    opened = open_base(str(tmp_path / "base"), "cross-encoder", 10, 40)
    assert formats_of(opened, ("onnx", "transformers")) == ("transformers",)
    with pytest.raises(ConfigurationError, match="served by vLLM, from safetensors"):
        formats_of(opened, ("onnx",))
    out, figures = exported(opened, tmp_path)
    assert not (out / "onnx").exists()
    assert (figures["serves"], figures["parity_through"]) == ("transformers", "folder")
    tree = json.loads((out / "transformers" / "contract.json").read_text())
    assert (tree["head"], tree["template"]) == ("yes_no", opened.spec.template)
    assert tree["template_digest"] == opened.spec.template_digest
    again = open_base(str(out / "transformers"), "cross-encoder")
    assert again.spec.template_digest == opened.spec.template_digest
    golden = read_contract(out / "transformers" / "contract.json").golden_pairs
    scores = score_pairs(again, [(query, passage) for query, passage, _ in golden])
    assert scores.tolist() == pytest.approx([score for _, _, score in golden], abs=1e-4)
    config = json.loads((out / "transformers" / "config.json").read_text())
    assert (config["architectures"], config["dtype"]) == (
        ["Qwen3ForSequenceClassification"],
        "bfloat16",
    )


def test_a_prefix_is_written_as_a_graph_alone(tmp_path, unmeasured):
    opened = base(tmp_path, "bert", "cross-encoder", 10, 40)
    config = FineTuneConfig(method="prefix", prefix_tokens=4)
    model = with_adapter(opened.model, config, "cross-encoder").eval()
    prefixed = Opened(model, opened.tokenizer, opened.spec)
    assert formats_of(prefixed, ("onnx", "transformers")) == ("onnx",)
    out, _ = exported(prefixed, tmp_path)
    config = RerankerConfig(model=str(out / "onnx"))
    model = load_cross_encoder(config, ONE_THREAD, tmp_path / "data")  # golden pairs hold
    model.close()
    with pytest.raises(Exception, match="does not tell the weights"):
        open_base(str(out / "onnx"), "cross-encoder")


# -- choices on dev


def test_what_is_sure_of_a_difference():
    dev = dev_pairs(lists=40)
    good = np.asarray(dev.relevant, dtype=float)
    same = compared(dev, good, good)
    assert (same.parity.measure_difference, same.difference, same.deviation) == (0.0, 0.0, 0.0)
    some = good.copy()
    some[:6] = 0.5 - good[:6]  # one list of forty turned round
    found = compared(dev, good, some)
    assert found.difference < 0
    assert found.parity.measure_difference == 0.0
    worse = compared(dev, good, -good)
    assert worse.parity.measure_difference == pytest.approx(
        worse.difference + 1.96 * worse.deviation
    )
    unfound = np.where(np.arange(len(good)) % 6 == 5, np.nan, good)
    assert compared(dev, good, unfound).difference < 0


def test_without_dev_lists_the_packages_own_pairs_do(tmp_path, unmeasured):
    opened = base(tmp_path, "bert", "cross-encoder", 10, 40)
    (tmp_path / "out").mkdir()
    task = task_of(opened, DevPairs([], dev_pairs().passages))
    figures = export(task, tmp_path / "out", tmp_path, lambda _: None)
    assert figures["parity_pairs"] == 10
    assert len(read_contract(tmp_path / "out" / "onnx" / "contract.json").golden_pairs) == 10


def test_the_weight_is_the_least_that_keeps_the_gain():
    dev = dev_pairs(lists=60)
    source = np.random.default_rng(1)
    good = np.asarray(dev.relevant, dtype=float)
    scores = good + source.normal(scale=0.4, size=len(good))
    earlier = good + source.normal(scale=0.8, size=len(good))
    chosen = choose_weight(dev, scores, earlier, kept=0.0)
    values = {share: dev.measured(joined(dev, scores, earlier, share)) for share in chosen.measured}
    assert chosen.measured == values
    best, before = max(values.values()), values[0.0]
    assert values[chosen.weight] >= before + 0.9 * (best - before)
    assert all(values[s] < before + 0.9 * (best - before) for s in values if s < chosen.weight)
    assert 0 < chosen.weight < 1


def test_a_weight_that_nothing_speaks_for_stays():
    few = dev_pairs(lists=5)
    scores = np.asarray(few.relevant, dtype=float)
    assert choose_weight(few, scores, recall_scores(few), 0.35).weight == 0.35
    dev = dev_pairs(lists=40)
    wrong = -np.asarray(dev.relevant, dtype=float)
    chosen = choose_weight(dev, wrong, -wrong, 0.35)
    assert (chosen.weight, chosen.measured[0.0]) == (0.35, 1.0)
    assert "no share gains" in chosen.why


def test_a_gain_that_may_be_chance_leaves_the_weight_as_it_is():
    dev = dev_pairs(lists=40)
    source = np.random.default_rng(2)
    good = np.asarray(dev.relevant, dtype=float)
    scores, earlier = (good + source.normal(scale=1.5, size=len(good)) for _ in range(2))
    chosen = choose_weight(dev, scores, earlier, 0.5)
    assert chosen.weight == 0.5
    assert max(chosen.measured.values()) > chosen.measured[0.5]
    assert "which is chance" in chosen.why


def test_a_document_without_a_passage_is_named():
    dev = dev_pairs(lists=1)
    with pytest.raises(InputFileError, match="'d0-0'"):
        _ = DevPairs(dev.lists, {}).pairs


def test_lists_of_one_grade_say_nothing():
    dev = dev_pairs(lists=3)
    flat = dataclasses.replace(
        dev.lists[0],
        candidates=tuple(dataclasses.replace(c, grade=0) for c in dev.lists[0].candidates),
    )
    assert telling_pairs([flat, *dev.lists[1:]], dev.passages).lists == list(dev.lists[1:])
