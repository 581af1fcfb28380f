"""Pairs a second of one cross-encoder on this CPU: the sidecar's runtimes and their peers.

    python benchmarks/cpu_runtimes.py [--model NAME] [--set DIR] [--json]
        [--transformers FOLDER --peers-python PYTHON [--vllm-python PYTHON]]

FOLDER holds the same weights as transformers saves them (sidecar-train to-transformers).
Peers live in environments of their own: --peers-python has torch, sentence-transformers, onnx and
onnxruntime (and nncf for OpenVINO in 8 bits), --vllm-python has vLLM for the CPU. All contestants
take turns on the same texts in one run, a round after the other; figures are medians over rounds,
ratios medians of the ratios of a round. A pair is tokenized and scored; vLLM is asked over HTTP.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from cpu_contestants import Contestant, PeerWorker, Request, Sidecar, VllmServer, ask_peer
from pair_texts import library_requests, set_requests

from sidecar.models.load import OpenedModel, open_model
from sidecar.models.machine import read_machine
from sidecar.models.runtime import Choice

LARGE, SMALL, SMALL_COUNT = 100, 20, 32
SMALL_EVERY = 3  # rounds; the small requests are many and slow
PAUSE_SECONDS = 1.5  # vLLM spins on a core for a second after an answer
OURS = (
    Choice("onnxruntime", "fp32"),
    Choice("openvino", "fp32", "latency"),
    Choice("openvino", "fp32", "throughput"),
    Choice("openvino", "bf16", "latency"),
    Choice("openvino", "bf16", "throughput"),
)
COLUMNS = (
    ("variant", 38, "{}"),
    ("load s", 8, "{:.1f}"),
    ("1x100 pairs/s", 15, "{:.0f}"),
    ("ratio", 7, "{:.2f}"),
    ("of limit", 9, "{:.0%}"),
    ("32x20 pairs/s", 15, "{:.0f}"),
    ("ratio", 7, "{:.2f}"),
    ("max diff", 10, "{:.1e}"),
    ("in std", 8, "{:.3f}"),
    ("tau", 8, "{:.4f}"),
)


def main() -> None:
    """Prints the table."""
    arguments = parse()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = open_model(arguments.model, "", "cross-encoder", scratch)
        requests = read_requests(arguments, model)
        pairs = [(query, passage) for query, passages in requests for passage in passages]
        contestants, absent = [], []
        for made in enter(arguments, model, pairs, scratch):
            if isinstance(made, str):
                absent.append(made)
            else:
                stack.callback(made.close)
                contestants.append(made)
        rates = ask_peer(arguments.peers_python, "rates") if arguments.peers_python else {}
        measured = measure(contestants, requests, arguments.rounds)
    report = {
        "machine": describe_machine(rates),
        "versions": describe_versions(contestants),
        "texts": describe_texts(arguments, model, pairs),
        "absent": absent,
        "rows": to_rows(contestants, measured, rates, work_of(arguments, model, pairs)),
    }
    print(json.dumps(report) if arguments.json else to_table(report))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pair-minilm-l6", help="carried name or folder")
    parser.add_argument("--layers", type=int, default=6, help="of the model, for the limit")
    parser.add_argument("--hidden", type=int, default=384, help="of the model, for the limit")
    parser.add_argument("--set", type=Path, help="BEIR-layout folder; else Python's documentation")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--transformers", type=Path, metavar="FOLDER")
    parser.add_argument("--peers-python", metavar="PYTHON")
    parser.add_argument("--vllm-python", metavar="PYTHON")
    parser.add_argument(
        "--vllm-precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"]
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if (arguments.peers_python or arguments.vllm_python) and not arguments.transformers:
        parser.error("peers need the weights as transformers saves them: --transformers FOLDER")
    return arguments


def read_requests(arguments: argparse.Namespace, model: OpenedModel) -> list[Request]:
    """LARGE passages for each query, short enough that nobody cuts them; one query to warm up."""
    count = arguments.rounds + 1
    if arguments.set:
        return set_requests(arguments.set, count, LARGE, model.tokenizer)
    return library_requests(count, LARGE, model.tokenizer)


def enter(
    arguments: argparse.Namespace,
    model: OpenedModel,
    pairs: Sequence[tuple[str, str]],
    scratch: Path,
) -> Iterator[Contestant | str]:
    """The contestants, the reference first, and a sentence for each that is absent."""
    peers, vllm, folder = arguments.peers_python, arguments.vllm_python, arguments.transformers
    if peers:
        for precision in ("fp32", "bf16"):
            name = f"sentence-transformers {precision}"
            yield PeerWorker(name, precision, peers, ["score", str(folder), precision])
    else:
        yield "sentence-transformers: --peers-python is not given"
    for choice in OURS:
        yield Sidecar(str(choice), model, choice, model.onnx)
    if peers:
        yield from enter_eight_bit(peers, folder, model, pairs, scratch)
    if vllm:
        for precision in arguments.vllm_precisions:
            yield VllmServer(f"vLLM {precision} over HTTP", precision, vllm, folder, scratch)
    else:
        yield "vLLM: --vllm-python is not given"


def enter_eight_bit(
    python: str, folder: Path, model: OpenedModel, pairs: Sequence[tuple[str, str]], scratch: Path
) -> Iterator[Contestant | str]:
    """The model in 8 bits as each runtime's own tool makes it, on the sidecar's runtimes."""
    from sidecar.models import convert
    from sidecar.models.formats import read_folder

    convert.PYTHON = python
    files = read_folder(folder, str(folder), "cross-encoder", "")
    onnx = convert.converted(files, scratch) / "model.onnx"
    sample = [list(pair) for pair in pairs[:: max(1, len(pairs) // 100)]]
    made = ask_peer(python, "quantize", str(onnx), str(folder), str(scratch), sent=sample)
    if made["missing"]:
        yield f"OpenVINO int8: {made['missing']}"
    for runtime, path in made["made"].items():
        kind = "dynamic" if runtime == "onnxruntime" else "after training"
        choice = Choice(runtime, "int8", "latency" if runtime == "onnxruntime" else "throughput")
        yield Sidecar(f"{choice} ({kind})", model, choice, Path(path))


def measure(
    contestants: Sequence[Contestant], requests: Sequence[Request], rounds: int
) -> dict[str, Any]:
    """By name: seconds of each round for both loads, and the scores of the large requests."""
    seen: dict[str, Any] = {c.name: {"large": [], "small": [], "scores": []} for c in contestants}
    small = [
        (query, passages[start : start + SMALL])
        for start in range(0, LARGE, SMALL)
        for query, passages in requests
    ][:SMALL_COUNT]
    for contestant in contestants:
        contestant.score(requests[:1])
    for number in range(rounds):
        for contestant in contestants:
            seconds, scores = contestant.score([requests[number + 1]])
            seen[contestant.name]["large"].append(seconds)
            seen[contestant.name]["scores"].extend(scores)
            time.sleep(PAUSE_SECONDS if contestant.spins else 0.1)
        if number % SMALL_EVERY == 0:
            for contestant in contestants:
                seen[contestant.name]["small"].append(contestant.score(small)[0])
                time.sleep(PAUSE_SECONDS if contestant.spins else 0.1)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return seen


def to_rows(
    contestants: Sequence[Contestant],
    measured: dict[str, Any],
    rates: dict[str, Any],
    giga_operations: float,
) -> list[dict[str, Any]]:
    """One row a contestant; the first is the reference of ratios and differences."""
    reference = measured[contestants[0].name]
    wanted = np.array(reference["scores"])
    spread = float(wanted.std(axis=1).mean())
    rows = []
    for contestant in contestants:
        seen = measured[contestant.name]
        scores = np.array(seen["scores"])
        large = LARGE / statistics.median(seen["large"])
        limit = rates.get("rates", {}).get(contestant.precision, 0.0) / giga_operations
        difference = float(np.abs(scores - wanted).max())
        rows.append(
            {
                "variant": contestant.name,
                "load_seconds": contestant.load_seconds,
                "pairs_per_second_1x100": large,
                "range_1x100": [LARGE / max(seen["large"]), LARGE / min(seen["large"])],
                "ratio_1x100": ratio(reference["large"], seen["large"]),
                "fraction_of_limit": large / limit if limit else None,
                "pairs_per_second_32x20": SMALL * SMALL_COUNT / statistics.median(seen["small"]),
                "ratio_32x20": ratio(reference["small"], seen["small"]),
                "max_difference": difference,
                "max_difference_in_std": difference / spread,
                "kendall_tau": float(
                    np.mean([tau(a, b) for a, b in zip(wanted, scores, strict=True)])
                ),
            }
        )
    return rows


def ratio(reference: Sequence[float], seconds: Sequence[float]) -> float:
    """How many times faster than the reference: the median over rounds."""
    return statistics.median(a / b for a, b in zip(reference, seconds, strict=True))


def tau(left: np.ndarray, right: np.ndarray) -> float:
    """Kendall's tau (a): agreeing less disagreeing pairs, over all."""
    rows, columns = np.triu_indices(len(left), 1)
    agree = np.sign(left[rows] - left[columns]) * np.sign(right[rows] - right[columns])
    return float(agree.mean())


def work_of(
    arguments: argparse.Namespace, model: OpenedModel, pairs: Sequence[tuple[str, str]]
) -> float:
    """Giga operations of the mean pair: the linear layers of each token, and its attention.

    A layer multiplies each token's state with 12 hidden x hidden weights, and attention two
    (tokens, tokens) products of that width; each multiply-add counts as two.
    """
    tokens = np.array([len(model.tokenizer.pairs(q, [p], 64, 256)[0].input_ids) for q, p in pairs])
    linear = 24.0 * arguments.layers * arguments.hidden**2 * tokens
    attention = 4.0 * arguments.layers * arguments.hidden * tokens**2
    return float((linear + attention).mean()) * 1e-9


def describe_machine(rates: dict[str, Any]) -> str:
    """The CPU and its matrix rates."""
    machine = read_machine()
    units = [n for n, has in (("bf16", machine.has_bf16), ("int8", machine.has_int8)) if has]
    measured = ", ".join(f"{p} {rate:.0f}" for p, rate in rates.get("rates", {}).items())
    return (
        f"{machine.name}, {machine.threads} threads, units for {', '.join(units) or 'fp32 only'}; "
        f"matrix rates in GFLOP/s: {measured or 'not measured (--peers-python)'}"
    )


def describe_versions(contestants: Sequence[Contestant]) -> dict[str, str]:
    """Of ours and of the peers'."""
    ours = {name: version(name) for name in ("onnxruntime", "openvino", "tokenizers")}
    peers = {key: value for c in contestants for key, value in c.versions.items()}
    return {**peers, **ours}


def describe_texts(
    arguments: argparse.Namespace, model: OpenedModel, pairs: Sequence[tuple[str, str]]
) -> str:
    """What was scored."""
    tokens = [model.tokenizer.pairs(q, [p], 64, 256)[0].token_count for q, p in pairs]
    source = arguments.set.name if arguments.set else "Python's documentation"
    name = f"{model.contract.name}@{model.contract.revision}"
    return f"{name}; {len(pairs)} pairs of {source}, {np.mean(tokens):.0f} tokens on average"


def to_table(report: dict[str, Any]) -> str:
    """The report as text."""
    lines = [
        report["machine"],
        ", ".join(f"{name} {number}" for name, number in sorted(report["versions"].items())),
        report["texts"],
        *(f"absent: {sentence}" for sentence in report["absent"]),
        "",
        "".join(
            f"{title:<{w}}" if i == 0 else f"{title:>{w}}"
            for i, (title, w, _) in enumerate(COLUMNS)
        ),
    ]
    keys = [key for key in report["rows"][0] if key != "range_1x100"]
    for row in report["rows"]:
        cells = []
        for key, (_, width, form) in zip(keys, COLUMNS, strict=True):
            text = "-" if row[key] is None else form.format(row[key])
            cells.append(f"{text:<{width}}" if key == "variant" else f"{text:>{width}}")
        lines.append("".join(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
