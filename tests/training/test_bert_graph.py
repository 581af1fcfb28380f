"""The built graphs against transformers, on the weights as they are after storage in 8 bits."""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")
pytest.importorskip("transformers", reason="needs the [train] extra: make test-training")

import onnxruntime
import openvino
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

from sidecar.models.hub import CARRIED
from training.carried.export import shape_of, with_stored_weights
from training.carried.rebuild import rebuilt
from training.graphs.bert import (
    build_bi_encoder,
    build_cross_encoder,
    dequantized,
    dither_of,
    quantize,
)

CONFIG = {
    "vocab_size": 50,
    "hidden_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "max_position_embeddings": 32,
}
IDS = np.array([[2, 7, 9, 3, 11, 3], [2, 8, 3, 4, 3, 0], [2, 3, 0, 0, 0, 0]], np.int64)
INPUTS = {
    "input_ids": IDS,
    "attention_mask": (IDS > 0).astype(np.int64),
    "token_type_ids": np.array([[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0], [0] * 6], np.int64),
}


def run_onnxruntime(graph):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    return session.run(None, INPUTS)[0]


def run_openvino(graph):
    core = openvino.Core()
    model = core.read_model(graph.SerializeToString())
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(INPUTS)[0]


def built(kind):
    """(graph, what transformers gives on the stored weights)."""
    torch.manual_seed(0)
    tensors = {name: torch.from_numpy(values) for name, values in INPUTS.items()}
    if kind == "cross-encoder":
        model = BertForSequenceClassification(BertConfig(**CONFIG, num_labels=1)).eval()
        graph = build_cross_encoder(state_of(model), shape_of(model))
        with_stored_weights(model)
        with torch.no_grad():
            return graph, model(**tensors).logits.numpy()
    model = BertModel(BertConfig(**CONFIG), add_pooling_layer=False).eval()
    graph = build_bi_encoder(state_of(model), shape_of(model))
    with_stored_weights(model)
    with torch.no_grad():
        states = model(**tensors).last_hidden_state
    mask = tensors["attention_mask"].unsqueeze(-1)
    mean = (states * mask).sum(1) / mask.sum(1)
    return graph, torch.nn.functional.normalize(mean, dim=1).numpy()


def state_of(model):
    return {name: weight.numpy().copy() for name, weight in model.state_dict().items()}


@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder"])
@pytest.mark.parametrize("runtime", [run_onnxruntime, run_openvino])
def test_equal_to_transformers_with_the_stored_weights(kind, runtime):
    graph, expected = built(kind)
    assert graph.graph.output[0].name in ("logits", "sentence_embedding")
    np.testing.assert_allclose(runtime(graph), expected, atol=1e-5)


def test_the_last_layer_of_a_cross_encoder_is_computed_for_the_first_token_alone():
    graph = built("cross-encoder")[0]
    names = [node.name for node in graph.graph.node]
    inputs = {node.name: list(node.input) for node in graph.graph.node}
    name = "encoder.layer.1.attention.self.{}.product"
    assert inputs[name.format("query")][0] == "first_state"
    assert inputs[name.format("key")][0] == "encoder.layer.0.output.LayerNorm.output"
    assert "encoder.layer.1.output.LayerNorm.output" in names


def test_a_rebuilt_graph_has_the_stored_weights_bit_for_bit(tmp_path):
    graph = built("cross-encoder")[0]
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString(deterministic=True))
    again = rebuilt(tmp_path / "model.onnx", CONFIG["num_attention_heads"])
    assert again.SerializeToString(deterministic=True) == graph.SerializeToString(
        deterministic=True
    )


def test_equal_weights_give_equal_bytes():
    first, second = (built("cross-encoder")[0].SerializeToString() for _ in range(2))
    assert first == second


def test_storage_errs_by_half_a_step_of_the_block():
    weight = np.random.default_rng(0).normal(size=(6, 256)).astype(np.float32)
    weight[2, 200] = 40.0  # an outlier coarsens its own block of 128, not the row's other
    whole, scale = quantize("encoder.dense.weight", weight)
    assert whole.shape == (12, 128)
    error = np.abs(dequantized("encoder.dense.weight", weight) - weight).reshape(12, 128)
    assert (error.max(axis=1) <= scale / 2 + 1e-6).all()
    assert error[4].max() < error[5].max()


def test_what_training_moved_by_less_than_half_a_step_is_kept_in_the_mean():
    name, source = "encoder.dense.weight", np.random.default_rng(0)
    before = dequantized(name, source.normal(size=(64, 256)).astype(np.float32))
    step = np.abs(before).reshape(128, 128).max(axis=1).repeat(128).reshape(64, 256) / 127
    moved = np.where(np.abs(before) < 120 * step, before + 0.1 * step, before).astype(np.float32)
    kept = dequantized(name, moved, dither_of(name)) - before
    # 16,384 draws of a chance of .1: the mean is known to .0024 of a step.
    assert (kept / step).mean() == pytest.approx(((moved - before) / step).mean(), abs=0.01)
    assert np.abs(kept / step).max() == pytest.approx(1.0, abs=1e-3)
    assert np.abs(dequantized(name, moved) - before).max() < 1e-6  # the nearest loses all of it
    np.testing.assert_array_equal(
        quantize(name, before, dither_of(name))[0], quantize(name, before)[0]
    )


def test_a_carried_folder_read_back_as_transformers(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece

    from training.carried.export import Promise, export_cross_encoder
    from training.graphs.transformers_format import write_transformers_format

    torch.manual_seed(1)
    config = BertConfig(**CONFIG | {"num_attention_heads": 12, "hidden_size": 384}, num_labels=1)
    model = BertForSequenceClassification(config).eval()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dune", "sand"]
    tokenizer = Tokenizer(WordPiece({p: n for n, p in enumerate(pieces)}, unk_token="[UNK]"))
    promise = Promise("tiny", "none", "Apache-2.0", 32, 8, 16, {"weight": 0.5})
    export_cross_encoder(model, tokenizer, promise, [("dune", "sand")], "# tiny", tmp_path / "a")
    write_transformers_format(tmp_path / "a", tmp_path / "b")
    read = BertForSequenceClassification.from_pretrained(tmp_path / "b").eval()
    ids = torch.tensor([[2, 5, 3, 6, 3]])
    types = torch.tensor([[0, 0, 0, 1, 1]])
    with torch.no_grad():
        score = read(input_ids=ids, token_type_ids=types).logits
    (golden,) = json.loads((tmp_path / "a" / "contract.json").read_text())["golden_pairs"]
    assert float(score[0, 0]) == pytest.approx(golden["score"], abs=1e-5)


def test_a_carried_bi_encoder_is_what_sentence_transformers_reads(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="the oracle")
    from training.graphs.transformers_format import write_transformers_format

    carried = CARRIED / "all-minilm-l6-v2"
    write_transformers_format(carried, tmp_path)
    oracle = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
    for golden in json.loads((carried / "contract.json").read_text())["golden_pairs"]:
        query, passage = oracle.encode([golden["query"], golden["passage"]])
        assert float(query @ passage) == pytest.approx(golden["score"], abs=1e-4)
        assert np.linalg.norm(query) == pytest.approx(1.0, abs=1e-5)
