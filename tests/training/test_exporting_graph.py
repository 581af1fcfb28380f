"""Every family's graph against the torch model, on the weights as they are after storage."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

import onnx
import torch
from onnx import numpy_helper

from sidecar.models.onnx_runtime import OnnxRuntime
from sidecar.models.openvino_runtime import OpenVinoRuntime
from sidecar.models.runtime import Batch, Choice
from training.config import FineTuneConfig
from training.exporting.encoder_graph import build_graph, is_plain_bert, with_stored
from training.exporting.folders import write_onnx
from training.fine_tuning.adapters import with_adapter
from training.fine_tuning.forward import pair_scores
from training.fine_tuning.opening import Opened, open_base
from training.fine_tuning.reading import TYPES, PairReader, TextReader, pad
from training.graphs.stored_weights import LEAST_SIZE, read_state, store

from .tiny_models import ENCODERS, PAIRS, write_encoder

RUNTIMES = (OnnxRuntime, OpenVinoRuntime)
KINDS = ("cross-encoder", "bi-encoder")


def opened(folder, family, kind, **options):
    write_encoder(folder, family, kind, **options)
    return open_base(str(folder), kind)


def batch_of(base):
    """What the sidecar gives a graph: types always, zeros where a model has none."""
    if base.spec.kind == "cross-encoder":
        reader = PairReader(base.tokenizer, base.spec)
        batch = pad([reader.read(*pair) for pair in PAIRS], base.tokenizer)
    else:
        reader = TextReader(base.tokenizer, base.spec)
        batch = pad([reader.passage(passage) for _, passage in PAIRS], base.tokenizer)
    if TYPES in base.tokenizer.model_input_names and TYPES not in batch:
        batch[TYPES] = torch.zeros_like(batch["input_ids"])
    return batch


def run(runtime, graph, batch, folder):
    """As the sidecar opens the file."""
    path = folder / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    opened_runtime = runtime(path, Choice(runtime.__name__.lower(), "fp32"), 1)
    arrays = {name: values.numpy() for name, values in batch.items()}
    arrays.setdefault(TYPES, np.zeros_like(arrays["input_ids"]))
    try:
        return opened_runtime.run(Batch(**arrays))
    finally:
        opened_runtime.close()


def expected_of(base, batch):
    with torch.no_grad():
        if base.spec.kind == "cross-encoder":
            return base.model(**batch).logits.numpy()
        states = base.model(**batch).last_hidden_state
    if not is_plain_bert(base.model, base.spec):
        return states.numpy()
    mask = batch["attention_mask"].unsqueeze(-1)
    mean = (states * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(mean, dim=1).numpy()


def graph_of(base):
    graph, stored = build_graph(base.model, base.spec, base.tokenizer.model_input_names)
    with_stored(base.model, stored)
    return graph, stored


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ENCODERS)
def test_equal_to_torch_with_the_stored_weights(family, kind, tmp_path):
    base = opened(tmp_path, family, kind)
    batch = batch_of(base)
    before = expected_of(base, batch)
    graph, _ = graph_of(base)
    expected = expected_of(base, batch)
    real = batch["attention_mask"].numpy().astype(bool)
    for runtime in RUNTIMES:
        found = run(runtime, graph, batch, tmp_path)
        if found.ndim == 3:  # states of padding mean nothing
            found, wanted = found[real], expected[real]
        else:
            wanted = expected
        np.testing.assert_allclose(found, wanted, atol=2e-5, err_msg=runtime.__name__)
    assert np.abs(expected - before).max() > 1e-5  # the storage does change something


@pytest.mark.parametrize("family", ENCODERS)
def test_large_weights_are_stored_in_8_bits_and_read_back(family, tmp_path):
    base = opened(tmp_path / "base", family, "cross-encoder")
    graph, stored = graph_of(base)
    kinds = {each.name: numpy_helper.to_array(each).dtype for each in graph.graph.initializer}
    whole = [name for name, kind in kinds.items() if kind == np.int8]
    large = {n for n, w in base.model.named_parameters() if w.ndim == 2 and w.numel() >= LEAST_SIZE}
    assert large <= stored.keys()
    assert len(whole) >= len(large)
    write_onnx(graph, base.model, base.tokenizer, tmp_path / "made")
    (tmp_path / "made" / "contract.json").write_text(
        '{"name": "x", "kind": "cross-encoder", "revision": "1"}'
    )
    again = open_base(str(tmp_path / "made"), "cross-encoder")
    weights = dict(again.model.named_parameters())
    for name, weight in base.model.named_parameters():
        torch.testing.assert_close(weights[name], weight, atol=0, rtol=0)
    once_more, _ = graph_of(again)  # what is on the grid of 8 bits stays there
    assert once_more.SerializeToString(deterministic=True) == graph.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("options", [{"hidden_act": "relu"}, {"hidden_size": 96}])
def test_a_bert_that_has_no_graph_of_its_own_is_traced(options, tmp_path):
    base = opened(tmp_path, "bert", "cross-encoder", **options)
    assert not is_plain_bert(base.model, base.spec)
    batch = batch_of(base)
    graph, _ = graph_of(base)
    expected = expected_of(base, batch)
    for runtime in RUNTIMES:
        found = run(runtime, graph, batch, tmp_path)
        np.testing.assert_allclose(found, expected, atol=2e-5, err_msg=runtime.__name__)


@pytest.mark.parametrize("family", ["bert", "xlm_roberta"])
def test_a_prefix_is_in_the_graph(family, tmp_path):
    base = opened(tmp_path, family, "cross-encoder")
    batch = batch_of(base)
    plain = expected_of(base, batch)
    config = FineTuneConfig(method="prefix", prefix_tokens=3)
    model = with_adapter(base.model, config, "cross-encoder")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "prompt_encoder" in name:
                weight.normal_(std=1.0)
    given = Opened(model.eval(), base.tokenizer, base.spec)
    graph, _ = graph_of(given)
    with torch.no_grad():
        expected = pair_scores(model, batch).numpy()[:, None]
    assert np.abs(expected - plain).max() > 1e-2
    one = {name: values[:1] for name, values in batch.items()}
    for runtime in RUNTIMES:
        for part, wanted in ((batch, expected), (one, expected[:1])):
            found = run(runtime, graph, part, tmp_path)
            np.testing.assert_allclose(found, wanted, atol=2e-5, err_msg=runtime.__name__)


def test_a_weight_that_is_nowhere_in_the_graph_is_not_lost_in_silence(tmp_path):
    graph, _ = graph_of(opened(tmp_path, "xlm_roberta", "cross-encoder"))
    with pytest.raises(ValueError, match=r"does not hold the weight other\.weight"):
        store(graph, {"other.weight": np.ones((3, 3), np.float32)})


def test_a_graph_of_somebody_else_tells_no_weights():
    assert read_state(onnx.ModelProto()) == {}
