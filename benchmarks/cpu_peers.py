"""A peer of `cpu_runtimes.py` in an environment of its own: JSON lines in, JSON lines out.

    python cpu_peers.py score FOLDER PRECISION
        sentence-transformers; a line is a list of requests [[query, [passage, ...]], ...], its
        answer {"seconds": s, "scores": [[...], ...]}
    python cpu_peers.py quantize ONNX FOLDER OUT
        8-bit copies of an fp32 ONNX file, calibrated on the pairs read from standard input
    python cpu_peers.py rates
        matrix products a second by precision

It runs under an interpreter that has torch and not the sidecar.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from pathlib import Path
from typing import Any

BATCH = 32  # sentence-transformers' own default
RATE_SHAPE = (2048, 384, 1536)
NAMES = ("torch", "transformers", "sentence-transformers", "onnxruntime", "openvino", "nncf")


def main(arguments: list[str]) -> None:
    """One of the three commands."""
    command, *rest = arguments
    {"score": score, "quantize": quantize, "rates": rates}[command](*rest)


def answer(**fields: Any) -> None:
    """One line to the parent."""
    sys.__stdout__.write(json.dumps(fields) + "\n")
    sys.__stdout__.flush()


def score(folder: str, precision: str) -> None:
    """Scores requests one after the other, as `CrossEncoder.predict` does when it is called."""
    started = time.perf_counter()
    import torch
    from sentence_transformers import CrossEncoder

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model = CrossEncoder(folder, device="cpu", model_kwargs={"dtype": dtype})
    answer(load_seconds=time.perf_counter() - started, versions=versions())
    for line in sys.stdin:
        requests = json.loads(line)
        started = time.perf_counter()
        scores = []
        for query, passages in requests:
            logits = model.predict(
                [(query, passage) for passage in passages],
                batch_size=BATCH,
                activation_fn=torch.nn.Identity(),
                show_progress_bar=False,
                convert_to_tensor=True,
            )
            scores.append(logits.float().tolist())
        answer(seconds=time.perf_counter() - started, scores=scores)


def quantize(onnx: str, folder: str, out: str) -> None:
    """ONNX Runtime's dynamic 8 bits, and OpenVINO's after training, where nncf is there."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    dynamic = Path(out) / "dynamic_int8.onnx"
    quantize_dynamic(onnx, str(dynamic), weight_type=QuantType.QInt8, per_channel=True)
    made = {"onnxruntime": str(dynamic)}
    try:
        import nncf
        import openvino
    except ImportError as error:
        answer(made=made, missing=str(error))
        return
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    pairs = json.loads(sys.stdin.read())
    samples = [dict(tokenizer(*pair, return_tensors="np")) for pair in pairs]
    model = nncf.quantize(
        openvino.Core().read_model(onnx),
        nncf.Dataset(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(samples),
    )
    static = Path(out) / "static_int8.xml"
    openvino.save_model(model, static, compress_to_fp16=False)
    answer(made={**made, "openvino": str(static)}, missing="")


def rates() -> None:
    """GFLOP/s of one matrix product of a MiniLM's shape, by precision."""
    import torch

    rows, inner, columns = RATE_SHAPE
    made = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left, right = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
        made[precision] = _rate(lambda a=left, b=right: a @ b)
    left = torch.randint(-127, 127, (rows, inner), dtype=torch.int8)
    right = torch.randint(-127, 127, (columns, inner), dtype=torch.int8).t()
    made["int8"] = _rate(lambda: torch._int_mm(left, right))
    answer(threads=torch.get_num_threads(), rates=made)


def _rate(product: Any) -> float:
    """The median of a second's worth, GFLOP/s."""
    rows, inner, columns = RATE_SHAPE
    times = []
    product()
    end = time.perf_counter() + 1.0
    while time.perf_counter() < end:
        started = time.perf_counter()
        product()
        times.append(time.perf_counter() - started)
    return 2e-9 * rows * inner * columns / sorted(times)[len(times) // 2]


def versions() -> dict[str, str]:
    """Of the peers that are installed here."""
    found = {}
    for name in NAMES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.stdout = sys.stderr  # the libraries' own words are not answers
    main(sys.argv[1:])
