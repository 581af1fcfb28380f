"""The weights of an ONNX file turned into plain numbers, in a process of its own.

OpenVINO's passes hold the interpreter for as long as they take (140 to 170 ms for a carried model),
in which a server answers nobody; reading what they made does not. Run as
`python -m sidecar.models.openvino_folding ONNX TARGET`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sidecar.errors import ModelError

FOLDING_SECONDS = 300.0
MOST_NICENESS = 19


@contextlib.contextmanager
def folded_aside(onnx: Path) -> Iterator[Path]:
    """A file with the model of an ONNX file that OpenVINO reads; it goes with the context. Blocks.

    Raises ModelError.
    """
    with tempfile.TemporaryDirectory(prefix="folding-") as folder:
        target = Path(folder) / "model.xml"
        command = [sys.executable, "-m", __name__, str(onnx), str(target)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=FOLDING_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            raise ModelError(f"{onnx} cannot be prepared: {error}") from error
        yield target


def main() -> None:
    """Folds and writes."""
    os.nice(MOST_NICENESS)  # nobody but a change of models waits for it
    import openvino

    from sidecar.models.openvino_runtime import fold_weights

    onnx, target = sys.argv[1:]
    model = openvino.Core().read_model(onnx)
    fold_weights(model)
    openvino.save_model(model, target, compress_to_fp16=False)


if __name__ == "__main__":
    main()
