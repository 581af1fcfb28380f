"""The whole loop: users search, their clicks are logged, both models learn from that log alone, the
gate decides, what it accepts is swapped in under load; nDCG@10 before and after.

    python benchmarks/loop.py [DIR] [--queries N] [--test-queries N] [--documents N] [--sessions N]
                              [--clicks pbm|cascade|dcm|trust] [--seed N] [--rate R] [--quiet S]
                              [--set SECTION.KEY=VALUE ...] [--keep FOLDER] [--json]

DIR is a judged set in BEIR layout with the splits train and test; without it the documentation of
Python's standard library is searched, with SYNTHETIC queries made from it. Queries and documents
are sampled (benchmarks/judged_sample.py), and the output says how.

1. A sidecar of its own serves the carried models from a registry; the corpus is indexed into it.
2. nDCG@10 on the judged test queries, of what the server answers over gRPC.
3. `sidecar simulate`: users search with the train queries and click by a click model; events are
   logged over gRPC. `sidecar feedback roll --all`.
4. `sidecar-train run` with the log, and no judgment, trains bi-encoder and second-stage reranker;
   the gate compares them on the log's own held-out queries; those accepted are published and
   activated. Searches arrive all the while: R a second for S seconds before training and while
   models are activated, a few while training has the cores. p99 during: the calls that were due
   between the beginning and the end of an activation, both together.
5. nDCG@10 again on the same queries; p by the paired randomisation test.
6. The same training on the true labels of the same train queries, at a second sidecar that began as
   the first did, measured in the same way. There the gate is told to accept: it is what clicks are
   compared with.

A model that the gate refuses is not served, and the output says why; "after" is what serves then.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from judged_sample import Sample, demo_set, sample_set
from load import Call, Load, between, milliseconds, ratio_of, to_window
from servers import SERVE, publish_carried, serving

from sidecar.evaluation.beir import JudgedSet
from sidecar.evaluation.measures import ndcg
from sidecar.models.machine import read_machine
from sidecar.simulation.click_models import CLICK_MODELS
from sidecar.v1 import (
    document_pb2,
    document_pb2_grpc,
    ranking_pb2,
    search_pb2,
    search_pb2_grpc,
)
from training.evaluation.significance import compare

COLLECTION = "loop"
ENCODER, RERANKER = "all-minilm", "pair-minilm"
MODELS = {ENCODER: "all-minilm-l6-v2", RERANKER: "pair-minilm-l6"}
STAGES = {ENCODER: ranking_pb2.STAGE_DENSE, RERANKER: ranking_pb2.STAGE_SECOND_RERANK}
SERVER = """
[bi_encoder]
model = "registry:{encoder}"
[second_reranker]
model = "registry:{reranker}"
[registry]
url = "{registry}"
[feedback]
exploration_share = {exploration}
[guard]
interleaving = false
"""
TRAINING = """
seed = {seed}
[sidecar]
address = "{address}"
collection = "{collection}"
configuration = "{configuration}"
[collect]
corpus = "{corpus}"
synthetic = {synthetic}
{learns_from}
[publish]
registry = "{registry}"
bi_encoder = "{encoder}"
reranker = "{reranker}"
to = "production"
"""
# The reference with true labels is served whatever comes out.
ACCEPT = (
    "gate.alpha=0.999999",
    "gate.least_gain=-1",
    "gate.latency_ratio=-1",
    "gate.rank_correlation=-1",
    "gate.measure_difference=-1",
)
EXPLORATION = 0.1  # share of rankings of which two neighbours are swapped
RATE_WHILE_TRAINING = 0.2
PUBLISH = ("bi_encoder/publish", "reranker/publish")
REFUSED, NOTHING = 10, "nothing"  # an exit code, and what publish says then
CALLERS = 4
TIMEOUT_SECONDS = 60.0
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Place:
    """Where one sidecar and one run are kept."""

    folder: Path

    @property
    def data(self) -> Path:
        """Of the sidecar."""
        return self.folder / "data"

    @property
    def registry(self) -> Path:
        """Its models."""
        return self.folder / "registry"

    @property
    def configuration(self) -> Path:
        """Of the sidecar."""
        return self.folder / "sidecar.toml"

    @property
    def run(self) -> Path:
        """Of sidecar-train."""
        return self.folder / "run"


@dataclass(slots=True)
class Measured:
    """nDCG@10 by query, and how many answers were less than was asked for."""

    values: dict[str, float] = field(default_factory=dict)
    degraded: int = 0

    @property
    def mean(self) -> float:
        """Over all queries."""
        return float(np.mean(list(self.values.values())))


def main() -> None:
    """Runs the loop and prints."""
    arguments = parse()
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            sys.exit(f"{folder} is not empty: give --keep a new folder")
        report = loop(arguments, folder)
    if not arguments.json:
        print(to_table(report))
    print(json.dumps(report, allow_nan=False))


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", metavar="DIR", type=Path, nargs="?")
    parser.add_argument("--queries", type=int, default=1500, help="train queries; 0: all (1500)")
    parser.add_argument("--test-queries", type=int, default=1000, help="0: all (1000)")
    parser.add_argument("--documents", type=int, default=15_000, help="0: all (15000)")
    parser.add_argument("--sessions", type=int, default=10_000, help="(10000)")
    parser.add_argument("--clicks", choices=sorted(CLICK_MODELS), default="pbm", help="(pbm)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=3.0, help="searches a second (3)")
    parser.add_argument("--quiet", type=float, default=60.0, help="seconds before training (60)")
    parser.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        dest="overrides",
        action="append",
        default=[],
        help="of the training's configuration, in both trainings",
    )
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="everything stays there")
    parser.add_argument("--json", action="store_true", help="no table")
    return parser.parse_args()


def loop(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All of it; the report."""
    clock = Clock()
    sample = to_sample(arguments, folder / "set")
    say(str(sample))
    clicks, labels = Place(folder / "clicks"), Place(folder / "labels")
    begin(clicks, sample)
    shutil.copytree(clicks.folder, labels.folder, ignore=shutil.ignore_patterns("lock", "log"))
    clock.lap("index")
    with sidecar(clicks) as address:
        before = measure(address, sample.test)
        say(f"before: nDCG@10 {before.mean:.4f}")
        clock.lap("measure")
        simulated = simulate(arguments, address, sample)
        sidecar_command("feedback", "roll", "--all", "--data", clicks.data)
        clock.lap("simulate")
        config = write_training(clicks, address, sample, learns_from_log(clicks), arguments)
        load = asyncio.run(train_under_load(arguments, address, sample, clicks, config))
        clock.lap("train on clicks")
        after_clicks = measure(address, sample.test)
        say(f"after clicks: nDCG@10 {after_clicks.mean:.4f}")
    with sidecar(labels) as address:
        config = write_training(labels, address, sample, learns_from_labels(sample), arguments)
        train(labels, config, [*arguments.overrides, *ACCEPT])
        clock.lap("train on labels")
        after_labels = measure(address, sample.test)
    return to_report(
        arguments,
        sample,
        {"before": before, "after_clicks": after_clicks, "after_labels": after_labels},
        {"simulated": simulated, **load, "log": told(clicks), "labels": told(labels)},
        clock,
    )


class Clock:
    """Seconds of each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """What was done since the last one."""
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._last, 1)
        self._last = now

    @property
    def total(self) -> float:
        """Since it was made."""
        return round(time.monotonic() - self._began, 1)


def to_sample(arguments: argparse.Namespace, out: Path) -> Sample:
    """Of DIR, or of the demo's collection."""
    sizes = (arguments.queries, arguments.test_queries, arguments.documents, arguments.seed)
    if arguments.set is None:
        return demo_set(out, *sizes)
    return sample_set(arguments.set, out, *sizes)


# The sidecar


def begin(place: Place, sample: Sample) -> None:
    """A sidecar with the carried models and the documents; it is stopped again."""
    place.data.mkdir(parents=True)
    publish_carried(place.registry, MODELS)
    with sidecar(place) as address:
        sidecar_command(
            "index", sample.corpus, "--to", address, "--collection", COLLECTION, "--create"
        )
        wait_searchable(address)


@contextlib.contextmanager
def sidecar(place: Place) -> Iterator[str]:
    """The address of the server of a place."""
    place.configuration.write_text(
        SERVER.format(
            encoder=ENCODER,
            reranker=RERANKER,
            registry=place.registry.resolve(),
            exploration=EXPLORATION,
        )
    )
    command = [*SERVE, "--data", place.data, "--config", place.configuration]
    command += ["--listen", "127.0.0.1:0"]
    with serving([*map(str, command)], place.folder / "log") as (address, _):
        yield address


def wait_searchable(address: str) -> None:
    """Until the documents are in both legs."""
    with grpc.insecure_channel(address) as channel:
        stub = document_pb2_grpc.DocumentServiceStub(channel)
        while True:
            stats = stub.GetStats(document_pb2.GetStatsRequest(collection=COLLECTION))
            if stats.searchable_sequence >= stats.durable_sequence:
                return
            time.sleep(LOOK_SECONDS)


def simulate(arguments: argparse.Namespace, address: str, sample: Sample) -> dict[str, Any]:
    """Users with the train queries; what they came to."""
    command = ["simulate", "--set", sample.folder, "--split", "train", "--collection", COLLECTION]
    command += ["--on", address, "--sessions", arguments.sessions, "--seed", arguments.seed]
    command += ["--clicks", arguments.clicks, "--timeout", TIMEOUT_SECONDS, "--json"]
    done: dict[str, Any] = json.loads(sidecar_command(*command))
    return {
        **{key: done[key] for key in ("sessions", "searches", "failed_searches", "explored")},
        **{key: done["actions"].get(key, 0) for key in ("click", "cart_addition", "order")},
        "refused_events": sum(done["refusals"].values()),
    }


def sidecar_command(*words: Any) -> str:
    """What `sidecar WORDS` printed."""
    command = [sys.executable, "-m", "sidecar", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


# Measuring


def measure(address: str, judged: JudgedSet) -> Measured:
    """nDCG@10 of what the server answers to each query."""
    return asyncio.run(_measure(address, judged))


async def _measure(address: str, judged: JudgedSet) -> Measured:
    measured, waiting = Measured(), list(judged.queries)
    options = ranking_pb2.RankingOptions(top_k=10, unlogged=True)

    async def caller() -> None:
        while waiting:
            query_id = waiting.pop()
            request = search_pb2.SearchRequest(
                collection=COLLECTION, query=judged.queries[query_id], options=options
            )
            ranking = (await stub.Search(request, timeout=TIMEOUT_SECONDS)).ranking
            hits = [hit.doc_id for hit in ranking.hits]
            measured.values[query_id] = ndcg(hits, judged.qrels[query_id], 10)
            measured.degraded += ranking.degraded

    async with grpc.aio.insecure_channel(address) as channel:
        stub = search_pb2_grpc.SearchServiceStub(channel)
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return measured


# Training


def write_training(
    place: Place, address: str, sample: Sample, learns_from: str, arguments: argparse.Namespace
) -> Path:
    """The configuration of a run."""
    path = place.folder / "training.toml"
    path.write_text(
        TRAINING.format(
            seed=arguments.seed,
            address=address,
            collection=COLLECTION,
            configuration=place.configuration.resolve(),
            corpus=sample.corpus.resolve(),
            synthetic=str(sample.synthetic).lower(),
            learns_from=learns_from,
            registry=place.registry.resolve(),
            encoder=ENCODER,
            reranker=RERANKER,
        )
    )
    return path


def learns_from_log(place: Place) -> str:
    """The log of the sidecar, and nothing else."""
    return f'feedback = ["{place.data.resolve() / "feedback"}"]'


def learns_from_labels(sample: Sample) -> str:
    """The judgments of the train queries, and nothing else."""
    return f'judgments = ["{sample.folder.resolve()}:train"]'


def train_command(place: Place, config: Path, overrides: Sequence[str]) -> list[str]:
    """`sidecar-train run`."""
    command = [sys.executable, "-m", "training", "run", str(config), "--out", str(place.run)]
    return command + [word for each in overrides for word in ("--set", each)]


def train(place: Place, config: Path, overrides: Sequence[str]) -> None:
    """To its end; leaves the benchmark if it fails."""
    command = train_command(place, config, overrides)
    check_trained(subprocess.run(command, stdout=sys.stderr).returncode)


def check_trained(code: int) -> None:
    """A refusal of the gate is an outcome, not a failure."""
    if code not in (0, REFUSED):
        sys.exit(f"sidecar-train ended with {code}")


async def train_under_load(
    arguments: argparse.Namespace, address: str, sample: Sample, place: Place, config: Path
) -> dict[str, Any]:
    """Trains while searches arrive; what became of them."""
    queries = [*sample.train.queries.values()]
    async with grpc.aio.insecure_channel(address) as channel:
        load = Load(channel, COLLECTION, queries, STAGES, arguments.seed)
        for _ in range(20):
            await load.ask("first", time.perf_counter())
        load.calls.clear()
        began = time.perf_counter()
        async with load.arriving(arguments.rate):
            await asyncio.sleep(arguments.quiet)
            quiet = time.perf_counter()
            command = train_command(place, config, arguments.overrides)
            process = await asyncio.create_subprocess_exec(*command, stdout=sys.stderr)
            await adapt_rate(load, arguments.rate, process, place.run / "events.jsonl")
            check_trained(await process.wait())
        await asyncio.sleep(0)
    before = between(load.calls, began, quiet)
    swaps = swap_windows(place.run / "events.jsonl")
    during = [call for start, end in swaps for call in between(load.calls, start, end)]
    return to_load(load.calls, before, during, swaps)


async def adapt_rate(
    load: Load, rate: float, process: asyncio.subprocess.Process, events: Path
) -> None:
    """Few searches while the run trains, `rate` while it publishes, until it ends."""
    ended = asyncio.create_task(process.wait())
    while not ended.done():
        place, kind = last_event(events)
        load.rate = rate if place in PUBLISH and kind == "begin" else RATE_WHILE_TRAINING
        await asyncio.wait({ended}, timeout=LOOK_SECONDS)


def last_event(events: Path) -> tuple[str, str]:
    """The stage that began or ended last."""
    seen = [row for row in read_events(events) if row["event"] in ("begin", "end")]
    return (seen[-1]["stage"], seen[-1]["event"]) if seen else ("", "")


def read_events(events: Path) -> list[dict[str, Any]]:
    """Of a run, none before there is any; the last line may be half written."""
    if not events.exists():
        return []
    whole = events.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in whole]


def swap_windows(events: Path) -> list[tuple[float, float]]:
    """When models were published and activated, by time.perf_counter."""
    now = time.time() - time.perf_counter()
    begun: dict[str, float] = {}
    windows = []
    for row in read_events(events):
        at = datetime.datetime.fromisoformat(row["time"]).timestamp() - now
        if row["stage"] in PUBLISH and row["event"] == "begin":
            begun[row["stage"]] = at
        elif row["stage"] in begun and row["event"] == "end":
            start = begun.pop(row["stage"])
            if row["figures"]["published"] != NOTHING:
                windows.append((start, at))
    return windows


def to_load(
    calls: Sequence[Call],
    before: Sequence[Call],
    during: Sequence[Call],
    swaps: Sequence[tuple[float, float]],
) -> dict[str, Any]:
    """The figures of the load."""
    quiet, swap = milliseconds(before), milliseconds(during)
    ratio, least, most = ratio_of(swap, quiet)
    return {
        "calls": len(calls),
        "failed_calls": sum(bool(call.failed) for call in calls),
        "degraded_calls": sum(call.degraded for call in (*before, *during)),
        "swap_seconds": [round(end - start, 1) for start, end in swaps],
        "calls_before": len(before),
        "calls_during": len(during),
        "p50_before": known(to_window(quiet).p50),
        "p50_during": known(to_window(swap).p50),
        "p99_before": known(to_window(quiet).p99),
        "p99_during": known(to_window(swap).p99),
        "p99_ratio": known(ratio),
        "p99_ratio_least": known(least),
        "p99_ratio_most": known(most),
    }


def known(value: float) -> float | None:
    """None for what no call was there to tell."""
    return round(value, 3) if math.isfinite(value) else None


# What is told


def told(place: Place) -> dict[str, Any]:
    """What the run says of propensities and gates."""
    figures = {}
    for name in ("propensity", "bi_encoder/gate", "reranker/gate"):
        manifest = place.run / name / "manifest.json"
        if manifest.exists():
            figures[name] = json.loads(manifest.read_text(encoding="utf-8"))["figures"]
    return figures


def to_report(
    arguments: argparse.Namespace,
    sample: Sample,
    measured: Mapping[str, Measured],
    figures: dict[str, Any],
    clock: Clock,
) -> dict[str, Any]:
    """Everything; the first keys are those that are asked for."""
    before, clicks, labels = (measured[n] for n in ("before", "after_clicks", "after_labels"))
    by_labels = labels.mean - before.mean
    clock.lap("measure")
    return {
        "before": round(before.mean, 5),
        "after_clicks": round(clicks.mean, 5),
        "after_labels": round(labels.mean, 5),
        "p": compare(before.values, clicks.values).p,
        "failed_calls": figures.pop("failed_calls"),
        "share_of_gain": round((clicks.mean - before.mean) / by_labels, 4) if by_labels else None,
        "p_labels": compare(before.values, labels.values).p,
        "degraded_when_measured": sum(each.degraded for each in measured.values()),
        "sample": str(sample),
        "synthetic": sample.synthetic,
        "click_model": arguments.clicks,
        "seed": arguments.seed,
        "overrides": arguments.overrides,
        **figures,
        "seconds": clock.total,
        "seconds_of": clock.seconds,
        "cpu": read_machine().name,
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("search-sidecar", "torch", "transformers")},
    }


def to_table(report: Mapping[str, Any]) -> str:
    """For people."""
    simulated, gates = report["simulated"], report["log"]
    lines = [
        f"{report['cpu']}, {report['cores']} cores; {report['sample']}",
        f"{simulated['sessions']:,} sessions ({report['click_model']}), "
        f"{simulated['searches']:,} searches, {simulated['click']:,} clicks, "
        f"{simulated['explored']:,} rankings explored with",
        "",
        f"{'':16}{'nDCG@10':>9}{'p':>10}",
        f"{'before':16}{report['before']:>9.4f}",
        f"{'after clicks':16}{report['after_clicks']:>9.4f}{report['p']:>10.4f}",
        f"{'after labels':16}{report['after_labels']:>9.4f}{report['p_labels']:>10.4f}",
        f"share of the gain by labels that clicks gave: {report['share_of_gain']}",
        "",
        f"{report['calls']:,} calls, {report['failed_calls']} failed; models were activated in "
        f"{report['swap_seconds']} s; p99 before {report['p99_before']} ms "
        f"({report['calls_before']} calls), during {report['p99_during']} ms "
        f"({report['calls_during']} calls), ratio {report['p99_ratio']} "
        f"({report['p99_ratio_least']} to {report['p99_ratio_most']})",
    ]
    lines += [f"{name}: {in_words(figures)}" for name, figures in gates.items()]
    times = ", ".join(f"{name} {seconds:.0f}" for name, seconds in report["seconds_of"].items())
    return "\n".join([*lines, f"{report['seconds']:.0f} s in all: {times}"])


def in_words(figures: Mapping[str, Any]) -> str:
    """Figures of a stage on one line."""
    return ", ".join(f"{name} {value}" for name, value in figures.items())


def say(sentence: str) -> None:
    """While it runs."""
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
