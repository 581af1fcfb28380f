"""Training on labels: both models of a judged set, a student of its teacher, adapters against all
weights.

    python benchmarks/supervised.py SET [--only NAME ...] [--set SECTION.KEY=VALUE ...] [--seed N]
                                    [--keep FOLDER] [--json]

SET is a judged set in BEIR layout; `sidecar-train run --until evaluate` learns from its split
train, chooses on a tenth of that, and is measured on its split test over all of its documents. Each
row is one such run:

bi_encoder    all-minilm-l6-v2 trained further; `dense` is its own ranking, `fused` that with BM25
reranker      pair-minilm-l6 trained further. The carried rerankers have learnt from the train
              splits of scifact and esci_us_small: on these, what is before is not zero-shot
new_reranker  all-minilm-l6-v2 with a new head: what the split alone makes a reranker of
student       pair-minilm-l3 by distillation from pair-minilm-l6, which is in production there
lora          as `reranker`, by an adapter

`before` is production, `after` the candidate as it is exported; p by the paired randomisation test.
`alone`: the order that the model gives the candidates that production recalls, without the stages
before it. Pairs a second are of the exported folders in this process (fp32 on ONNX Runtime), in
turns. Published figures are of BEIR (Thakur et al., 2021) and of the models' authors.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sidecar.config import RerankerConfig, RuntimeConfig
from sidecar.evaluation.beir import read_corpus, read_judged_set
from sidecar.models.base import CrossEncoder, ScorablePair
from sidecar.models.hub import CARRIED
from sidecar.models.load import close_model, load_cross_encoder
from sidecar.models.machine import read_machine
from sidecar.types import Truncation, to_passage

CONFIGURATION = """
seed = {seed}
[collect]
judgments = ["{set}:train"]
corpus = "{set}"
test_share = 0.01
[evaluate]
judged = "{set}:test"
latency_requests = 0
[gate]
latency_ratio = -1
"""
ONLY_RERANKER = ("bi_encoder.train=false",)
RUNS: dict[str, tuple[str, ...]] = {
    "bi_encoder": ("reranker.train=false",),
    "reranker": ONLY_RERANKER,
    "new_reranker": (
        *ONLY_RERANKER,
        "reranker.base=all-minilm-l6-v2",
        "reranker.new_head=true",
        "reranker.base_shares=0.0",
    ),
    "student": (
        *ONLY_RERANKER,
        "reranker.base=pair-minilm-l3",
        "reranker.teacher=pair-minilm-l6",
        "reranker.loss=distillation",
        "reranker.rank_weight=1.0",
    ),
    "lora": (*ONLY_RERANKER, "reranker.method=lora"),
}
STAGES = {"bi_encoder": ("dense", "fused", "second_rerank")}
RERANKER_STAGES = ("rerank_only", "second_rerank")
SHARED = ("collect", "propensity", "label", "indexes")
PUBLISHED = {
    "scifact": {
        "BM25": 0.679,
        "all-MiniLM-L6-v2": 0.645,
        "BM25 -> ms-marco-MiniLM-L6": "0.682 to 0.688",
        "BM25 -> bge-reranker-v2-m3": 0.731,
    }
}
MEASURE = "nDCG@10"
TEACHER = "pair-minilm-l6"
TIMED_PAIRS, TURNS = 256, 5
FP32 = RuntimeConfig(runtime="onnxruntime", precision="fp32")


def main() -> None:
    """Trains, measures and prints."""
    arguments = parse()
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "training.toml"
        config.write_text(
            CONFIGURATION.format(set=arguments.set.resolve(), seed=arguments.seed), encoding="utf-8"
        )
        report = head(arguments)
        for name in arguments.only or RUNS:
            report["runs"][name] = run(name, config, folder, arguments)
        if "student" in report["runs"]:
            report["runs"]["student"] |= against_teacher(folder / "student", arguments.set)
    print(json.dumps(report) if arguments.json else to_table(report))


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", metavar="SET", type=Path)
    parser.add_argument("--only", choices=RUNS, action="append")
    parser.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        dest="overrides",
        action="append",
        default=[],
        help="of every run",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="runs stay there, and go on")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def head(arguments: argparse.Namespace) -> dict[str, Any]:
    """Where and with what this was measured."""
    return {
        "set": arguments.set.resolve().name,
        "cpu": read_machine().name,
        "cores": os.cpu_count(),
        "versions": {
            name: version(name) for name in ("search-sidecar", "torch", "transformers", "peft")
        },
        "seed": arguments.seed,
        "overrides": arguments.overrides,
        "published": PUBLISHED.get(arguments.set.resolve().name, {}),
        "runs": {},
    }


def run(name: str, config: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run of sidecar-train; its figures."""
    out = folder / name
    take_over(folder, out)
    command = [sys.executable, "-m", "training", "run", str(config), "--out", str(out)]
    command += ["--until", "evaluate"]
    command += [word for one in (*RUNS[name], *arguments.overrides) for word in ("--set", one)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    model = "bi_encoder" if name == "bi_encoder" else "reranker"
    return to_figures(out / model, STAGES.get(name, RERANKER_STAGES))


def take_over(folder: Path, out: Path) -> None:
    """What is the same in every run is taken from one that has it."""
    for place in SHARED:
        made = sorted(
            folder.glob(f"*/{place}/manifest.json" if place != "indexes" else "*/indexes")
        )
        if made and not (out / place).exists():
            source = made[0] if place == "indexes" else made[0].parent
            shutil.copytree(source, out / place)


def to_figures(folder: Path, stages: Sequence[str]) -> dict[str, Any]:
    """Of a model's folder in a run."""
    metrics = read(folder / "evaluate" / "metrics.json")
    history = read(folder / "train" / "history.json")
    systems = metrics["systems"]
    return {
        "queries": metrics["queries"]["count"],
        "bm25": systems["bm25"]["lexical"][MEASURE]["mean"],
        "stages": {stage: before_and_after(metrics, stage) for stage in stages},
        "p_against_bm25": metrics["comparisons"]["bm25"]["p"],
        "dev_before": history["base"],
        "dev_after": history["measure"],
        "lists": history["lists"],
        "train_seconds": history["seconds"],
        "peak_megabytes": history["peak_megabytes"],
        "adapter_megabytes": megabytes(folder / "train" / "adapter"),
        "model_megabytes": megabytes(folder / "train" / "model"),
    }


def before_and_after(metrics: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Means of both, and p where it was computed."""
    before, after = (
        metrics["systems"][name][stage][MEASURE]["mean"] for name in ("production", "candidate")
    )
    compared = metrics["stages"].get(stage, {}).get(MEASURE)
    return {"before": before, "after": after, "p": compared and compared["p"]}


def megabytes(folder: Path) -> float | None:
    """Of its files; None without it."""
    if not folder.is_dir():
        return None
    return round(sum(each.stat().st_size for each in folder.rglob("*")) / 1e6, 2)


def read(path: Path) -> dict[str, Any]:
    """JSON."""
    tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return tree


# The student's pace


def against_teacher(out: Path, folder: Path) -> dict[str, Any]:
    """Quality kept, and times faster."""
    metrics = read(out / "reranker" / "evaluate" / "metrics.json")
    alone = before_and_after(metrics, "rerank_only")
    rates = pairs_a_second(
        {"teacher": CARRIED / TEACHER, "student": out / "reranker" / "export" / "onnx"}, folder
    )
    return {
        "quality_kept": round(alone["after"] / alone["before"], 4),
        "pairs_a_second": rates,
        "times_faster": round(rates["student"] / rates["teacher"], 2),
    }


def pairs_a_second(models: Mapping[str, Path], folder: Path) -> dict[str, float]:
    """The median of turns of each, over real pairs of one length after the other."""
    with tempfile.TemporaryDirectory() as scratch:
        loaded = {
            name: load_cross_encoder(RerankerConfig(model=str(path)), FP32, Path(scratch) / name)
            for name, path in models.items()
        }
        pairs = {name: real_pairs(model, folder) for name, model in loaded.items()}
        times: dict[str, list[float]] = {name: [] for name in loaded}
        for _ in range(TURNS):
            for name, model in loaded.items():
                times[name].append(seconds_of(model, pairs[name]))
        for model in loaded.values():
            close_model(model)
    return {name: round(TIMED_PAIRS / statistics.median(each), 1) for name, each in times.items()}


def real_pairs(model: CrossEncoder, folder: Path) -> list[ScorablePair]:
    """Test queries with documents that are not theirs, by length."""
    queries = list(read_judged_set(folder, "test").queries.values())
    documents = [to_passage(list(each.fields.values())) for _, each in read_corpus(folder)]
    pairs = []
    for place in range(TIMED_PAIRS):
        query, passage = queries[place % len(queries)], documents[(place * 31) % len(documents)]
        pairs += [p for one in model.tokenize(query, [passage], Truncation()) for p in one.pairs]
    return sorted(pairs[:TIMED_PAIRS], key=lambda pair: pair.length)


def seconds_of(model: CrossEncoder, pairs: Sequence[ScorablePair]) -> float:
    """Scored in batches of 16."""
    batches = [pairs[start : start + 16] for start in range(0, len(pairs), 16)]

    async def score() -> None:
        for batch in batches:
            await model.score(batch)

    started = time.perf_counter()
    asyncio.run(score())
    return time.perf_counter() - started


# What is told


def to_table(report: Mapping[str, Any]) -> str:
    """For people."""
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    lines = [
        f"{report['cpu']}, {report['cores']} cores; {versions}; {report['set']}",
        "",
        f"{MEASURE:14}{'stage':16}{'before':>8}{'after':>8}{'p':>9}{'MB peak':>9}{'seconds':>9}",
    ]
    for name, one in report["runs"].items():
        lines += [to_row(name, one, stage) for stage in one["stages"]]
    lines += ["", *notes(report)]
    return "\n".join(lines)


def to_row(name: str, one: Mapping[str, Any], stage: str) -> str:
    """One stage of one run."""
    made = one["stages"][stage]
    p = "-" if made["p"] is None else f"{made['p']:.4f}"
    peak, seconds = one["peak_megabytes"], one["train_seconds"]
    row = f"{name:14}{stage:16}{made['before']:>8.4f}{made['after']:>8.4f}{p:>9}"
    return f"{row}{peak:>9,.0f}{seconds:>9,.0f}"


def notes(report: Mapping[str, Any]) -> list[str]:
    """What does not fit into the table."""
    runs, told = report["runs"], []
    if runs:
        one = next(iter(runs.values()))
        told.append(f"{one['queries']} queries; BM25 {one['bm25']:.4f}")
    if "student" in runs:
        one = runs["student"]
        told.append(
            f"student: {one['quality_kept']:.1%} of the teacher's {MEASURE}, "
            f"{one['times_faster']} times as fast ({one['pairs_a_second']})"
        )
    if "lora" in runs:
        one = runs["lora"]
        told.append(
            f"lora: adapter of {one['adapter_megabytes']} MB, model {one['model_megabytes']} MB"
        )
    told += [f"published: {name} {value}" for name, value in report["published"].items()]
    return told


if __name__ == "__main__":
    main()
