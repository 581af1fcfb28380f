"""Pairs a second of four reranker shapes on this machine's GPU, against what the card can do.

    python benchmarks/gpu.py --python PYTHON [--engine vllm|transformers] [--json] [--tiny]

PYTHON has torch, transformers and vLLM (on a GPU: `make install-gpu`, then .venv/bin/python).
Weights are random, of the true shapes, and made here. vLLM is started as `sidecar serve --gpu`
starts it and asked over HTTP by the sidecar's own client, as full as it keeps it; --engine
transformers runs the same shapes there where vLLM cannot run. `gpu.md` says how to read the table.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from cpu_contestants import offline
from gpu_shapes import SHAPES, Shape, tiny

from sidecar.config import BiEncoderConfig, Config, RerankerConfig, VllmConfig
from sidecar.models.base import CrossEncoder, ScorablePair
from sidecar.models.load import close_model, load_cross_encoder
from sidecar.models.machine import read_machine
from sidecar.models.vllm.servers import supervised
from sidecar.types import Truncation

WORKER = Path(__file__).with_name("gpu_worker.py")
QUERY_WORDS, WORDS, TEXTS = 8, 1000, 512
TRANSFORMERS_TOKENS = 65_536  # of one batch
FAISS_VECTORS, FAISS_DIMENSIONS, FAISS_QUERIES = 1_000_000, 384, (1, 64)
COLUMNS = (
    ("model", 29, "{}"),
    ("engine", 25, "{}"),
    ("precision", 11, "{}"),
    ("tokens", 8, "{}"),
    ("pairs/s", 12, "{:.0f}"),
    ("tokens/s", 12, "{:.0f}"),
    ("p50 ms", 9, "{:.1f}"),
    ("Top/s", 9, "{:.2f}"),
    ("of ceiling", 12, "{:.1%}"),
)


def main() -> None:
    """Prints the table."""
    arguments = parse()
    seconds = 0.5 if arguments.tiny else 3.0
    card = ask_worker(arguments.python, "ceilings", str(seconds))
    rows, absent = [], []
    for made in enter(arguments, card):
        print(made if isinstance(made, str) else f"measured {made['model']}", file=sys.stderr)
        (absent if isinstance(made, str) else rows).append(made)
    report = {
        "machine": describe_machine(card),
        "versions": {**card["versions"], "faiss": faiss_version()},
        "absent": absent,
        "rows": rows,
    }
    print(json.dumps(report) if arguments.json else to_table(report))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="interpreter with torch and vLLM")
    parser.add_argument("--engine", choices=("vllm", "transformers"), default="vllm")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--shapes", nargs="+", choices=tuple(SHAPES), default=list(SHAPES))
    parser.add_argument("--tokens", nargs="+", type=int, default=[32, 128, 512])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each row")
    parser.add_argument("--extra-arguments", default="", help="of vLLM, as in vllm.extra_arguments")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes: checks this script only")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def enter(arguments: argparse.Namespace, card: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    """The rows as they are measured, and a sentence for each that is absent."""
    for name in arguments.shapes:
        shape = tiny(SHAPES[name]) if arguments.tiny else SHAPES[name]
        measured = time_vllm if arguments.engine == "vllm" else time_transformers
        try:
            for row in measured(arguments, shape):
                yield with_ceiling(row, card)
        except Exception as error:
            yield f"{shape.name} on {arguments.engine}: {error}"
    yield from time_faiss(arguments.tiny, card)


def time_vllm(arguments: argparse.Namespace, shape: Shape) -> Iterator[dict[str, Any]]:
    """Rows of one shape on a server of its own."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch) / "model"
        ask_worker(arguments.python, "make", json.dumps(dataclasses.asdict(shape)), str(folder))
        config = stack.enter_context(supervised(to_configuration(arguments, shape, folder)))
        encoder = load_cross_encoder(
            config.first_reranker, config.runtime, Path(scratch), vllm=config.vllm
        )
        assert encoder is not None
        stack.callback(close_model, encoder)
        for tokens in arguments.tokens:
            pairs = to_pairs(encoder, shape, tokens)
            seconds, done, times = asyncio.run(keep_full(encoder, pairs, arguments.seconds))
            yield {
                "model": shape.name,
                "engine": "vLLM over HTTP",
                "precision": arguments.dtype,
                "tokens": tokens,
                "pairs_per_second": done / seconds,
                "tokens_per_second": done * pairs[0].length / seconds,
                "p50_ms": 1000 * statistics.median(times),
                "operations": shape.operations(pairs[0].length) * done / seconds,
            }


def to_configuration(arguments: argparse.Namespace, shape: Shape, folder: Path) -> Config:
    """One reranker, served by vLLM. Prompts are computed anew: no prefix is taken from a cache."""
    extra = arguments.extra_arguments
    if shape.family == "qwen3":
        extra += " --no-enable-prefix-caching"
    dtype = "half" if arguments.dtype == "float16" else arguments.dtype
    return Config(
        bi_encoder=BiEncoderConfig(model=""),
        first_reranker=RerankerConfig(model=str(folder)),
        second_reranker=RerankerConfig(),
        vllm=VllmConfig(
            start=True,
            python=arguments.python,
            dtype=dtype,
            extra_arguments=extra,
            first_reranker_memory=0.1 if arguments.tiny else 0.0,
            timeout_seconds=120.0,
        ),
    )


def to_pairs(encoder: CrossEncoder, shape: Shape, tokens: int) -> list[ScorablePair]:
    """TEXTS pairs of `tokens` tokens, special ones included; a decoder's prompt comes on top."""
    special = {"bert": 3, "xlm-roberta": 4, "qwen3": 0}[shape.family]
    chosen = random.Random(0)
    budgets = Truncation(QUERY_WORDS, tokens)
    pairs: list[ScorablePair] = []
    for _ in range(TEXTS):
        words = [f"w{chosen.randrange(WORDS)}" for _ in range(tokens - special)]
        query, passage = " ".join(words[:QUERY_WORDS]), " ".join(words[QUERY_WORDS:])
        pairs.extend(encoder.tokenize(query, [passage], budgets)[0].pairs)
    return pairs


async def keep_full(
    encoder: CrossEncoder, pairs: list[ScorablePair], seconds: float
) -> tuple[float, int, list[float]]:
    """(seconds, pairs scored, seconds of each request), with as much under way as it is fed."""
    size = max(1, encoder.feed.batch_tokens // pairs[0].length)
    parts = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    times: list[float] = []
    scored = 0
    await encoder.score(parts[0])
    started = time.perf_counter()

    async def ask(number: int) -> None:
        nonlocal scored
        while time.perf_counter() - started < seconds:
            part = parts[number % len(parts)]
            begun = time.perf_counter()
            scores = await encoder.score(part)
            times.append(time.perf_counter() - begun)
            if not np.isfinite(scores).all():
                raise SystemExit("vLLM gives scores that are not finite")
            scored, number = scored + len(part), number + encoder.feed.side_by_side

    await asyncio.gather(*(ask(number) for number in range(encoder.feed.side_by_side)))
    return time.perf_counter() - started, scored, times


def time_transformers(arguments: argparse.Namespace, shape: Shape) -> Iterator[dict[str, Any]]:
    """Rows of one shape in one process, without a server; a decoder without its prompt."""
    for tokens in arguments.tokens:
        pairs = max(1, (4096 if arguments.tiny else TRANSFORMERS_TOKENS) // tokens)
        words = (json.dumps(dataclasses.asdict(shape)), arguments.dtype, str(tokens), str(pairs))
        given = ask_worker(arguments.python, "transformers", *words, str(arguments.seconds))
        rate = given["pairs_per_second"]
        yield {
            "model": shape.name,
            "engine": f"transformers, {pairs} a batch",
            "precision": arguments.dtype,
            "tokens": tokens,
            "pairs_per_second": rate,
            "tokens_per_second": rate * tokens,
            "p50_ms": 1000 * pairs / rate,
            "operations": shape.operations(tokens) * rate,
        }


def time_faiss(small: bool, card: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    """Exact scans, against the rate at which the card reads its memory."""
    import faiss

    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    if not gpus and not small:
        yield "faiss-gpu: faiss sees no GPU (make install-gpu puts it in place of faiss-cpu)"
        return
    count = 20_000 if small else FAISS_VECTORS
    vectors = np.random.default_rng(0).standard_normal((count, FAISS_DIMENSIONS), dtype=np.float32)
    if gpus:
        options = faiss.GpuIndexFlatConfig()
        options.useFloat16 = True
        index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), FAISS_DIMENSIONS, options)
    else:
        index = faiss.IndexFlatIP(FAISS_DIMENSIONS)
    index.add(vectors)
    for queries in FAISS_QUERIES:
        once = seconds_of_search(index, vectors[:queries])
        read = count * FAISS_DIMENSIONS * (2 if gpus else 4) / once
        yield {
            "model": f"{count} vectors, {queries} at once",
            "engine": "faiss-gpu flat" if gpus else "faiss-cpu flat",
            "precision": "float16" if gpus else "float32",
            "tokens": None,
            "pairs_per_second": queries / once,
            "tokens_per_second": None,
            "p50_ms": 1000 * once,
            "tera_operations": 2 * count * FAISS_DIMENSIONS * queries / once * 1e-12,
            "fraction_of_ceiling": read * 1e-9 / card["giga_bytes"],
        }


def seconds_of_search(index: Any, queries: np.ndarray) -> float:
    """The median of some searches for the best 100."""
    times = []
    for _ in range(22):
        started = time.perf_counter()
        index.search(queries, 100)
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


def with_ceiling(row: dict[str, Any], card: dict[str, Any]) -> dict[str, Any]:
    """The row with its share of the matrix rate of its precision."""
    rate = row.pop("operations") * 1e-12
    ceiling = card["tera_operations"][row["precision"]]
    return {**row, "tera_operations": rate, "fraction_of_ceiling": rate / ceiling}


def ask_worker(python: str, *words: str) -> dict[str, Any]:
    """The answer of a command of `gpu_worker.py`."""
    done = subprocess.run(
        [python, str(WORKER), *words], capture_output=True, text=True, env=offline()
    )
    if done.returncode:
        raise SystemExit(f"{WORKER.name} {words[0]} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def faiss_version() -> str:
    """Of whichever package is installed."""
    for name in ("faiss-gpu", "faiss-cpu"):
        with contextlib.suppress(Exception):
            return f"{name} {version(name)}"
    return "none"


def describe_machine(card: dict[str, Any]) -> str:
    """The card and its ceilings."""
    rates = ", ".join(f"{name} {rate:.3g}" for name, rate in card["tera_operations"].items())
    memory = f", {card['memory_bytes'] / 1e9:.0f} GB" if card["memory_bytes"] else ""
    return (
        f"{card['device']}{memory}; matrix rates in Top/s: {rates}; "
        f"memory {card['giga_bytes']:.0f} GB/s; host {read_machine().name}"
    )


def to_table(report: dict[str, Any]) -> str:
    """The report as text."""
    keys = (
        *("model", "engine", "precision", "tokens", "pairs_per_second", "tokens_per_second"),
        *("p50_ms", "tera_operations", "fraction_of_ceiling"),
    )
    lines = [
        report["machine"],
        ", ".join(f"{name} {number}" for name, number in sorted(report["versions"].items())),
        *(f"absent: {sentence}" for sentence in report["absent"]),
        "",
        "".join(f"{title:<{w}}" if w > 20 else f"{title:>{w}}" for title, w, _ in COLUMNS),
    ]
    for row in report["rows"]:
        cells = [
            "-" if row[key] is None else COLUMNS[i][2].format(row[key])
            for i, key in enumerate(keys)
        ]
        widths = [width for _, width, _ in COLUMNS]
        lines.append(
            "".join(
                f"{c:<{w}}" if w > 20 else f"{c:>{w}}" for c, w in zip(cells, widths, strict=True)
            )
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
