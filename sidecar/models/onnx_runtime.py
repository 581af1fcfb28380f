"""Models on a CPU by ONNX Runtime: fp32, or the 8-bit operators that a file brings itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from sidecar.errors import ModelError
from sidecar.models.runtime import Batch, Cancellation, Choice, Output

_ONLY_ERRORS = 3


class OnnxRuntime:
    """One session; ONNX Runtime runs it from several threads at once on one pool."""

    def __init__(self, path: Path, choice: Choice, threads: int) -> None:
        """Opens the ONNX file at `path` on `threads` threads. Raises ModelError."""
        self._choice = choice
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ONLY_ERRORS
        # Idle threads that spin would take the cores from the other models of this process.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if choice.precision == "fp32":
            # Weights stored behind DequantizeLinear become float weights at load.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library has no common root of its errors
            raise ModelError(f"ONNX Runtime cannot open {path}: {error}") from error
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._outputs = [self._session.get_outputs()[0].name]

    @property
    def choice(self) -> Choice:
        """How it runs."""
        return self._choice

    @property
    def concurrency(self) -> int:
        """One batch takes all threads."""
        return 1

    def run(self, batch: Batch, cancellation: Cancellation | None = None) -> Output:
        """The first output as float32. A cancelled batch stops at its next operator."""
        cancellation = cancellation or Cancellation()
        arrays = {name: getattr(batch, name) for name in self._inputs}
        options = onnxruntime.RunOptions()
        cancellation.check()
        cancellation.stops_by(lambda: setattr(options, "terminate", True))
        try:
            output = self._session.run(self._outputs, arrays, options)[0]
        except Exception as error:  # the library has no common root of its errors
            raise ModelError(f"ONNX Runtime failed on a batch: {error}") from error
        finally:
            cancellation.end()
        return np.asarray(output, dtype=np.float32)

    def close(self) -> None:
        """Drops the session."""
        del self._session
