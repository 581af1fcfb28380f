"""Every runtime gives the carried models the same fp32 scores, alone and in a batch."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
import pytest

from sidecar.errors import ModelError
from sidecar.models.base import Pair
from sidecar.models.contract import read_contract
from sidecar.models.hub import CARRIED, carried_names
from sidecar.models.onnx_runtime import OnnxRuntime
from sidecar.models.openvino_runtime import OpenVinoRuntime, turn_keys_in_product
from sidecar.models.runtime import Batch, Cancellation, Choice, Runtime
from sidecar.models.sample_texts import sample_pairs
from sidecar.models.tokenizing import Tokenizer
from sidecar.types import Truncation

CHOICES = [
    Choice("onnxruntime", "fp32"),
    Choice("openvino", "fp32", "latency"),
    Choice("openvino", "fp32", "throughput"),
]


class Begun(Cancellation):
    """Says when its batch has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    def stops_by(self, stop: Callable[[], None]) -> None:
        super().stops_by(stop)
        self.begun.set()


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


def test_no_key_is_copied_by_columns() -> None:
    """The pass that turns keys in the product meets all of them, and changes nothing else."""
    model = openvino.Core().read_model(CARRIED / "pair-minilm-l6" / "model.onnx")

    def orders() -> list[list[int]]:
        turned = [node for node in model.get_ops() if node.get_type_name() == "Transpose"]
        constants = [node.input_value(1).get_node() for node in turned]
        return [c.data.tolist() for c in constants if c.get_type_name() == "Constant"]

    before = orders()
    turn_keys_in_product(model)
    assert before.count([0, 2, 3, 1]) == 6
    assert orders().count([0, 2, 3, 1]) == 0
    assert orders().count([0, 2, 1, 3]) == before.count([0, 2, 1, 3]) + 6


def test_a_cancelled_batch_stops_and_the_next_one_runs() -> None:
    runtime = open_runtime("pair-minilm-l6", CHOICES[0])
    one = inputs_of("pair-minilm-l6", 1)
    long = [Pair(tuple(range(5, 245)), (0,) * 240)]
    whole = Batch.pad(long * 24, 0)
    started = time.perf_counter()
    runtime.run(whole)
    seconds = time.perf_counter() - started
    cancellation = Begun()
    thread = threading.Thread(target=lambda: cancellation.begun.wait(10) and cancellation.request())
    thread.start()
    started = time.perf_counter()
    with pytest.raises(ModelError):
        runtime.run(whole, cancellation)
    assert time.perf_counter() - started < seconds / 2
    thread.join()
    assert np.isfinite(runtime.run(Batch.pad(one, 0))).all()
    runtime.close()


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_cancelled_batches_leave_others_their_scores(choice: Choice) -> None:
    """Batches of many shapes, two at a time, half of them cancelled while they run."""
    runtime, chance = open_runtime("pair-minilm-l3", choice), random.Random(3)
    batches = []
    for _ in range(24):
        length = 16 * chance.randint(1, 5)
        ids = tuple(chance.randrange(1000, 20000) for _ in range(length))
        batches.append(Batch.pad([Pair(ids, (0,) * length)] * chance.randint(1, 12), 0))
    alone = [runtime.run(batch) for batch in batches]
    wrong: list[int] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(60):
            row, cancellation = chance.randrange(len(batches)), Cancellation()
            if chance.random() < 0.5:
                threading.Timer(chance.uniform(0.0, 0.02), cancellation.request).start()
            try:
                scores = runtime.run(batches[row], cancellation)
            except ModelError:
                wrong.extend([] if cancellation.requested else [row])
                continue
            if scores.shape != alone[row].shape or np.abs(scores - alone[row]).max() > 1e-3:
                wrong.append(row)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
    runtime.close()


@pytest.mark.parametrize("choice", CHOICES[:2], ids=str)
def test_a_batch_that_was_cancelled_before_does_not_begin(choice: Choice) -> None:
    runtime = open_runtime("pair-minilm-l3", choice)
    cancellation = Cancellation()
    cancellation.request()
    with pytest.raises(ModelError, match="before it began"):
        runtime.run(Batch.pad(inputs_of("pair-minilm-l3", 1), 0), cancellation)
    assert np.isfinite(runtime.run(Batch.pad(inputs_of("pair-minilm-l3", 1), 0))).all()
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
