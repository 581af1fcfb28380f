"""Every runtime gives the carried models the same fp32 scores, alone and in a batch."""

from pathlib import Path

import numpy as np
import pytest

from sidecar.errors import ModelError
from sidecar.models.base import Pair
from sidecar.models.contract import read_contract
from sidecar.models.hub import CARRIED, carried_names
from sidecar.models.onnx_runtime import OnnxRuntime
from sidecar.models.openvino_runtime import OpenVinoRuntime
from sidecar.models.runtime import Batch, Choice, Runtime
from sidecar.models.sample_texts import sample_pairs
from sidecar.models.tokenizing import Tokenizer
from sidecar.types import Truncation

CHOICES = [
    Choice("onnxruntime", "fp32"),
    Choice("openvino", "fp32", "latency"),
    Choice("openvino", "fp32", "throughput"),
]


def open_runtime(name: str, choice: Choice, threads: int = 2) -> Runtime:
    maker = OnnxRuntime if choice.runtime == "onnxruntime" else OpenVinoRuntime
    return maker(CARRIED / name / "model.onnx", choice, threads)


def inputs_of(name: str, count: int) -> list[Pair]:
    contract = read_contract(CARRIED / name / "contract.json")
    tokenizer = Tokenizer.open(CARRIED / name / "tokenizer.json", contract.max_tokens)
    pairs = sample_pairs()[: count * 3 : 3]
    if contract.kind == "bi-encoder":
        return tokenizer.texts([passage for _, passage in pairs], 254)
    read = [tokenizer.pairs(query, [passage], Truncation(64, 205))[0] for query, passage in pairs]
    return [pair for passage in read for pair in passage.pairs if isinstance(pair, Pair)]


def test_there_are_three_carried_models() -> None:
    assert carried_names() == ["all-minilm-l6-v2", "pair-minilm-l3", "pair-minilm-l6"]


@pytest.mark.parametrize("name", carried_names())
def test_runtimes_agree_in_fp32(name: str) -> None:
    inputs = inputs_of(name, 12)
    outputs = {}
    for choice in CHOICES:
        runtime = open_runtime(name, choice)
        together = runtime.run(Batch.pad(inputs, 0))
        alone = np.concatenate([runtime.run(Batch.pad([one], 0)) for one in inputs])
        assert together.dtype == np.float32
        assert together.shape[0] == len(inputs)
        np.testing.assert_allclose(alone, together, atol=1e-4)
        outputs[choice] = together
        runtime.close()
    for choice in CHOICES[1:]:
        np.testing.assert_allclose(outputs[choice], outputs[CHOICES[0]], atol=1e-4)


def test_throughput_runs_batches_side_by_side() -> None:
    runtime = open_runtime("pair-minilm-l3", Choice("openvino", "fp32", "throughput"))
    assert runtime.concurrency == 2
    runtime.close()


def test_bf16_weights_are_folded_before_they_are_compiled() -> None:
    """Unfolded 8-bit weights with bf16 gave scores off by many standard deviations."""
    inputs = inputs_of("pair-minilm-l6", 12)
    reference = open_runtime("pair-minilm-l6", CHOICES[0]).run(Batch.pad(inputs, 0))
    for hint in ("latency", "throughput"):
        runtime = open_runtime("pair-minilm-l6", Choice("openvino", "bf16", hint))
        scores = runtime.run(Batch.pad(inputs, 0))
        assert np.abs(scores - reference).max() < 0.5 * reference.std()
        runtime.close()


@pytest.mark.parametrize("choice", CHOICES[:2], ids=str)
def test_what_is_not_onnx_is_refused_by_name(tmp_path: Path, choice: Choice) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    maker = OnnxRuntime if choice.runtime == "onnxruntime" else OpenVinoRuntime
    with pytest.raises(ModelError, match=r"model\.onnx"):
        maker(path, choice, 1)


@pytest.mark.parametrize("choice", CHOICES[:2], ids=str)
def test_a_batch_that_cannot_run_is_an_error_and_the_next_one_runs(choice: Choice) -> None:
    runtime = open_runtime("pair-minilm-l3", choice)
    beyond = Pair((10**6,), (0,))
    good = inputs_of("pair-minilm-l3", 1)
    if choice.runtime == "onnxruntime":
        with pytest.raises(ModelError, match="failed on a batch"):
            runtime.run(Batch.pad([beyond], 0))
    assert np.isfinite(runtime.run(Batch.pad(good, 0))).all()
    runtime.close()
