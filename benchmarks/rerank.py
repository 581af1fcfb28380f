"""Pairs a second of the second-stage reranker over gRPC, and of its peers on the same weights.

    python benchmarks/rerank.py [--set DIR] [--rounds N] [--json]
        [--peers-python PYTHON] [--backends-python PYTHON] [--infinity-python PYTHON]
        [--vllm-python PYTHON [--vllm-preload LIBRARY ...]]

Every engine gets the same texts in the same round, one engine after the other, the order reversed
from round to round; the caches are bypassed, every round has texts of its own. Peers live in
environments of their own and run at the settings that they are fastest with (`rerank.md` says how
each is set up). --peers-python has torch, transformers and onnx and sentence-transformers;
--backends-python has sentence-transformers[onnx,openvino]; --infinity-python has infinity-emb;
--vllm-python has vLLM for the CPU, which wants tcmalloc and OpenMP of Intel preloaded. Figures are
medians over rounds; `ratio` is the median of the sidecar's rate over the engine's in one round;
`of limit` is the share of what the measured bf16 matrix rate allows for these tokens.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from cpu_contestants import Request
from rerank_contestants import (
    Answers,
    Contestant,
    Peer,
    SidecarServer,
    Vllm,
    measured_rates,
    to_transformers,
)
from rerank_texts import MOST_TOKENS, WORKS, Texts, Work

from sidecar.models.hub import CARRIED
from sidecar.models.machine import read_machine
from sidecar.models.tokenizing import Tokenizer

MODEL, LAYERS, HIDDEN = "pair-minilm-l6", 6, 384
PAUSE_SECONDS = 1.5  # vLLM spins on a core for a second after an answer
COLUMNS = (
    ("work", 27, "{}"),
    ("engine", 32, "{}"),
    ("pairs/s", 9, "{:.0f}"),
    ("p50 ms", 9, "{:.0f}"),
    ("p99 ms", 9, "{:.0f}"),
    ("ratio", 7, "{:.2f}"),
    ("of limit", 10, "{:.0%}"),
    ("max diff in std", 17, "{:.3f}"),
    ("  settings", 0, "  {}"),
)
KEYS = (
    "work",
    "engine",
    "pairs_per_second",
    "p50_ms",
    "p99_ms",
    "sidecar_ratio",
    "fraction_of_limit",
    "max_difference_in_std",
    "settings",
)


def main() -> None:
    """Prints the table."""
    arguments = parse()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = long_model(scratch)
        tokenizer = Tokenizer.open(folder / "tokenizer.json", MOST_TOKENS)
        texts = Texts(arguments.set, tokenizer)
        contestants, absent = [], []
        for made in enter(arguments, folder, scratch):
            if isinstance(made, str):
                absent.append(made)
            else:
                stack.callback(made.close)
                contestants.append(made)
        python = arguments.peers_python
        rates = measured_rates(python) if python else {}
        rows = [
            row
            for work in WORKS
            if work.name.split()[0] in arguments.works
            for row in measure(work, contestants, texts, arguments.rounds, rates)
        ]
    report = {
        "machine": describe_machine(rates),
        "versions": versions_of(contestants),
        "texts": arguments.set.name if arguments.set else "Python's documentation",
        "absent": absent,
        "rows": rows,
    }
    print(json.dumps(report) if arguments.json else to_table(report))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", type=Path, help="BEIR-layout folder; else Python's documentation")
    parser.add_argument("--rounds", type=int, default=5)
    names = [work.name.split()[0] for work in WORKS]
    parser.add_argument("--works", nargs="+", choices=names, default=names)
    for peer in ("peers", "backends", "infinity", "vllm"):
        parser.add_argument(f"--{peer}-python", metavar="PYTHON")
    parser.add_argument("--vllm-preload", nargs="*", default=[], metavar="LIBRARY")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    others = (arguments.backends_python, arguments.infinity_python, arguments.vllm_python)
    if any(others) and not arguments.peers_python:
        parser.error("peers need --peers-python: it writes the weights as they load them")
    return arguments


def long_model(scratch: Path) -> Path:
    """The carried reranker, its contract widened to the 512 positions that its weights have."""
    folder = scratch / "model"
    shutil.copytree(CARRIED / MODEL, folder)
    path = folder / "contract.json"
    contract = json.loads(path.read_text(encoding="utf-8"))
    contract |= {"max_tokens": MOST_TOKENS, "max_query_tokens": 64, "max_passage_tokens": 0}
    path.write_text(json.dumps(contract), encoding="utf-8")
    return folder


def enter(arguments: argparse.Namespace, folder: Path, scratch: Path) -> Iterator[Contestant | str]:
    """The contestants, the sidecar first, and a sentence for each that is absent."""
    yield SidecarServer(str(folder), scratch)
    weights = scratch / "transformers"
    if arguments.peers_python:
        to_transformers(arguments.peers_python, folder, weights)
    for option, kinds in (
        ("peers", ("sentence-transformers-fp32", "sentence-transformers-bf16")),
        ("backends", ("sentence-transformers-onnx", "sentence-transformers-openvino")),
        ("infinity", ("infinity-fp32",)),
    ):
        python = getattr(arguments, f"{option}_python")
        if not python:
            yield f"{' and '.join(kinds)}: --{option}-python is not given"
            continue
        for kind in kinds:
            yield Peer(kind, python, weights)
    if arguments.vllm_python:
        yield Vllm(arguments.vllm_python, weights, scratch, arguments.vllm_preload)
    else:
        yield "vLLM: --vllm-python is not given"


def measure(
    work: Work, contestants: Sequence[Contestant], texts: Texts, rounds: int, rates: dict[str, Any]
) -> list[dict[str, Any]]:
    """The rows of one work."""
    drawn = [texts.draw(work) for _ in range(rounds + 1)]
    seen: dict[str, list[Answers]] = {contestant.name: [] for contestant in contestants}
    for contestant in contestants:
        ask(contestant, drawn[0])
    for number, requests in enumerate(drawn[1:]):
        for contestant in contestants if number % 2 == 0 else list(reversed(contestants)):
            seen[contestant.name].append(ask(contestant, requests))
        print(f"{work.name}: round {number + 1} of {rounds}", file=sys.stderr)
    pairs = work.requests * work.passages
    ceiling = limit(texts, drawn[1:], rates.get("bf16", 0.0))
    settings = {contestant.name: contestant.settings for contestant in contestants}
    reference = seen[contestants[1].name] if len(contestants) > 1 else seen[contestants[0].name]
    return [
        to_row(work, name, answers, seen[contestants[0].name], reference, pairs, ceiling)
        | {"settings": settings[name]}
        for name, answers in seen.items()
    ]


def ask(contestant: Contestant, requests: list[Request]) -> Answers:
    """One round of one engine, which is quiet when it returns."""
    answers = contestant.answer(requests)
    time.sleep(PAUSE_SECONDS if contestant.spins else 0.2)
    return answers


def to_row(
    work: Work,
    name: str,
    answers: Sequence[Answers],
    ours: Sequence[Answers],
    reference: Sequence[Answers],
    pairs: int,
    ceiling: float,
) -> dict[str, Any]:
    """One engine's row. Differences are from the first peer's, fp32 in sentence-transformers."""
    rate = pairs / statistics.median(one.seconds for one in answers)
    latencies = np.array([latency for one in answers for latency in one.latencies]) * 1e3
    ratios = [a.seconds / b.seconds for a, b in zip(answers, ours, strict=True)]
    return {
        "work": work.name,
        "engine": name,
        "pairs_per_second": rate,
        "p50_ms": float(np.percentile(latencies, 50)),
        "p99_ms": float(np.percentile(latencies, 99)),
        "sidecar_ratio": statistics.median(ratios),
        "fraction_of_limit": rate / ceiling if ceiling else None,
        "max_difference_in_std": apart(answers, reference),
    }


def apart(answers: Sequence[Answers], reference: Sequence[Answers]) -> float:
    """The largest difference of a score, in standard deviations of the reference's."""
    found = np.concatenate([scores for one in answers for scores in one.scores])
    wanted = np.concatenate([scores for one in reference for scores in one.scores])
    return float(np.abs(found - wanted).max() / wanted.std())


def limit(texts: Texts, drawn: Sequence[list[Request]], giga_rate: float) -> float:
    """Pairs a second that the matrix rate allows: linear layers and attention of every token.

    A layer multiplies each token's state with 12 hidden x hidden weights, and attention two
    (tokens, tokens) products of that width; each multiply-add counts as two.
    """
    tokens = np.array([count for requests in drawn for count in texts.tokens(requests)])
    linear = 24.0 * LAYERS * HIDDEN**2 * tokens
    attention = 4.0 * LAYERS * HIDDEN * tokens.astype(np.float64) ** 2
    return giga_rate * 1e9 / float((linear + attention).mean())


def describe_machine(rates: dict[str, Any]) -> str:
    """The CPU and its matrix rates."""
    machine = read_machine()
    measured = ", ".join(f"{p} {rate:.0f}" for p, rate in rates.items())
    return (
        f"{machine.name}, {machine.threads} threads; "
        f"matrix rates in GFLOP/s: {measured or 'not measured (--peers-python)'}"
    )


def versions_of(contestants: Sequence[Contestant]) -> dict[str, str]:
    """Of ours and of the peers'; a library that two environments have is named with its peer."""
    found = {f"sidecar {name}": version(name) for name in ("openvino", "onnxruntime", "grpcio")}
    for contestant in contestants:
        for library, number in contestant.versions.items():
            found[f"{contestant.name} {library}"] = number
    return found


def to_table(report: dict[str, Any]) -> str:
    """The report as text."""
    lines = [
        report["machine"],
        ", ".join(f"{name} {number}" for name, number in report["versions"].items()),
        f"{MODEL} widened to {MOST_TOKENS} tokens; texts of {report['texts']}",
        *(f"absent: {sentence}" for sentence in report["absent"]),
        "",
        "".join(title.ljust(w) if i < 2 else title.rjust(w) for i, (title, w, _) in columns()),
    ]
    for row in report["rows"]:
        cells = []
        for (i, (_, width, form)), key in zip(columns(), KEYS, strict=True):
            text = "-" if row[key] is None else form.format(row[key])
            cells.append(text.ljust(width) if i < 2 else text.rjust(width))
        lines.append("".join(cells))
    return "\n".join(lines)


def columns() -> list[tuple[int, tuple[str, int, str]]]:
    """The columns, numbered."""
    return list(enumerate(COLUMNS))


if __name__ == "__main__":
    main()
