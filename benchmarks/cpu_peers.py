"""A peer of `cpu_runtimes.py` and `rerank.py` in an environment of its own: JSON lines in and out.

    python cpu_peers.py score FOLDER PRECISION
        sentence-transformers; a line is a list of requests [[query, [passage, ...]], ...], its
        answer {"seconds": s, "scores": [[...], ...]}
    python cpu_peers.py serve FOLDER KIND
        as above, each library at the settings that it is fastest with; KIND is
        sentence-transformers-fp32, -bf16, -onnx or -openvino, or infinity-fp32 or -bf16; the answer
        has "latencies", the seconds until each request was answered, and "settings", too
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
BATCH_SIZES = (4, 8, 16, 32)  # that `serve` tries
RATE_SHAPE = (2048, 384, 1536)
NAMES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "onnxruntime",
    "openvino",
    "nncf",
    "infinity-emb",
)


def main(arguments: list[str]) -> None:
    """One of the four commands."""
    command, *rest = arguments
    {"score": score, "serve": serve, "quantize": quantize, "rates": rates}[command](*rest)


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


def serve(folder: str, kind: str) -> None:
    """Scores requests that come at the same time."""
    started = time.perf_counter()
    library, _, variant = kind.rpartition("-")
    scorer = {"sentence-transformers": SentenceTransformers, "infinity": Infinity}[library]
    peer = scorer(folder, variant)
    answer(load_seconds=time.perf_counter() - started, versions=versions())
    for line in sys.stdin:
        requests = json.loads(line)
        started = time.perf_counter()
        scores, ends = peer.score(requests)
        seconds = time.perf_counter() - started
        latencies = [end - started for end in ends]
        answer(seconds=seconds, latencies=latencies, scores=scores, settings=peer.settings)


class SentenceTransformers:
    """One call of `predict` for all pairs of all requests, the longest first, since it neither
    batches requests nor sorts pairs itself; the batch size is the fastest on the first requests."""

    def __init__(self, folder: str, variant: str) -> None:
        import torch
        from sentence_transformers import CrossEncoder

        self._identity = torch.nn.Identity()
        if variant in ("onnx", "openvino"):
            self._model = CrossEncoder(folder, backend=variant, device="cpu")
        else:
            dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[variant]
            self._model = CrossEncoder(folder, device="cpu", model_kwargs={"dtype": dtype})
        self._batch_size = 0
        self.settings = ""

    def score(self, requests: list[Any]) -> tuple[list[list[float]], list[float]]:
        """Scores of each request, and when it was answered."""
        pairs = [(query, passage) for query, passages in requests for passage in passages]
        if not self._batch_size:
            self._batch_size = min(BATCH_SIZES, key=lambda size: self._seconds(pairs, size))
            self.settings = f"sorted, batches of {self._batch_size}"
        flat = iter(self._predict(pairs, self._batch_size))
        scores = [[next(flat) for _ in passages] for _, passages in requests]
        return scores, [time.perf_counter()] * len(requests)

    def _seconds(self, pairs: list[Any], batch_size: int) -> float:
        self._predict(pairs, batch_size)
        started = time.perf_counter()
        self._predict(pairs, batch_size)
        return time.perf_counter() - started

    def _predict(self, pairs: list[Any], batch_size: int) -> list[float]:
        order = sorted(range(len(pairs)), key=lambda row: -len(pairs[row][1]))
        logits = self._model.predict(
            [pairs[row] for row in order],
            batch_size=batch_size,
            activation_fn=self._identity,
            show_progress_bar=False,
            convert_to_tensor=True,
        )
        found = dict(zip(order, logits.float().tolist(), strict=True))
        return [found[row] for row in range(len(pairs))]


class Infinity:
    """Its engine in this process, without HTTP; it batches the requests and sorts the pairs."""

    settings = "its own batches, no HTTP"

    def __init__(self, folder: str, variant: str) -> None:
        import asyncio

        from infinity_emb import AsyncEmbeddingEngine, EngineArgs

        dtype = {"fp32": "float32", "bf16": "bfloat16"}[variant]
        arguments = EngineArgs(
            model_name_or_path=folder,
            engine="torch",
            device="cpu",
            dtype=dtype,
            lengths_via_tokenize=True,
            model_warmup=False,
        )
        self._loop = asyncio.new_event_loop()
        self._engine = AsyncEmbeddingEngine.from_args(arguments)
        self._loop.run_until_complete(self._engine.astart())

    def score(self, requests: list[Any]) -> tuple[list[list[float]], list[float]]:
        """Scores of each request, and when it was answered."""
        import asyncio

        async def ask(query: str, passages: list[str]) -> tuple[list[float], float]:
            ranked, _ = await self._engine.rerank(query=query, docs=passages, raw_scores=True)
            by_row = {one.index: float(one.relevance_score) for one in ranked}
            return [by_row[row] for row in range(len(passages))], time.perf_counter()

        async def ask_all() -> Any:
            return await asyncio.gather(*(ask(*request) for request in requests))

        answers = self._loop.run_until_complete(ask_all())
        return [scores for scores, _ in answers], [end for _, end in answers]


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
