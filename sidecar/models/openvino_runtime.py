"""Models on a CPU by OpenVINO: fp32, bf16, or the 8-bit operators that a file brings itself.

The carried files store their weights in 8 bits behind DequantizeLinear. Left alone, the CPU plugin
takes them for a compressed model and computes on the 8-bit weights, which gains nothing here and
returned garbage (measured with bf16, and with f32 on several streams). So they are folded to float
before the model is compiled.
"""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as opset
from openvino import passes
from openvino.utils import replace_node

from sidecar.errors import ModelError
from sidecar.models.runtime import Batch, Cancellation, Choice, Output

_KEYS_BY_COLUMNS = [0, 2, 3, 1]
_KEYS_BY_ROWS = np.array([0, 2, 1, 3], dtype=np.int64)


class OpenVinoRuntime:
    """One compiled model with as many inference requests as it runs side by side."""

    def __init__(self, path: Path, choice: Choice, threads: int) -> None:
        """Compiles the ONNX file at `path` on `threads` threads. Raises ModelError."""
        self._choice = choice
        try:
            compiled = _compile(path, choice, threads)
            streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
            self._concurrency: int = max(1, streams)
            self._inputs = [port.get_any_name() for port in compiled.inputs]
            self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
            for _ in range(self._concurrency):
                self._idle.put(compiled.create_infer_request())
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot compile {path}: {error}") from error

    @property
    def choice(self) -> Choice:
        """How it runs."""
        return self._choice

    @property
    def concurrency(self) -> int:
        """Its streams."""
        return self._concurrency

    def run(self, batch: Batch, cancellation: Cancellation | None = None) -> Output:
        """The first output as float32. Waits for an idle inference request.

        A cancelled batch does not begin; one that has begun is computed to its end. Stopped within
        an inference, the CPU plugin (2026.4) keeps shapes of it in its graph: the next batches
        failed, or came back with the scores of others (test_runtimes.py).
        """
        cancellation = cancellation or Cancellation()
        request = self._idle.get()
        try:
            arrays = {name: getattr(batch, name) for name in self._inputs}
            cancellation.check()
            request.start_async(arrays, share_inputs=True)
            request.wait()
            return np.array(request.get_output_tensor(0).data, dtype=np.float32)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO failed on a batch: {error}") from error
        finally:
            self._idle.put(request)

    def close(self) -> None:
        """Drops the inference requests and with them the compiled model."""
        while not self._idle.empty():
            self._idle.get_nowait()


def _compile(path: Path, choice: Choice, threads: int) -> Any:
    core = openvino.Core()
    model = core.read_model(path)
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": choice.hint.upper(),
        "INFERENCE_PRECISION_HINT": "bf16" if choice.precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    if choice.precision != "int8" and path.suffix == ".onnx":  # else it was done aside
        fold_weights(model)
    turn_keys_in_product(model)
    return core.compile_model(model, "CPU", settings)


def fold_weights(model: Any) -> None:
    """Makes plain numbers of weights that are stored in another form. Holds the interpreter."""
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(model)


def turn_keys_in_product(model: Any) -> None:
    """Attention's keys (batch, tokens, heads, width) are copied by rows, and turned in the product.

    The same numbers; copied by columns, (batch, heads, width, tokens), they cost 1 to 3 % more.
    """
    for product in model.get_ops():
        if product.get_type_name() != "MatMul":
            continue
        keys = product.input_value(1).get_node()
        if keys.get_type_name() != "Transpose" or len(keys.output(0).get_target_inputs()) != 1:
            continue
        order = keys.input_value(1).get_node()
        if order.get_type_name() != "Constant" or order.data.tolist() != _KEYS_BY_COLUMNS:
            continue
        if product.get_attributes()["transpose_a"] or product.get_attributes()["transpose_b"]:
            continue
        by_rows = opset.transpose(keys.input_value(0), opset.constant(_KEYS_BY_ROWS))
        turned = opset.matmul(product.input_value(0), by_rows, False, True)
        replace_node(product, turned)
