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
Beside what a gate was shown (the log's held-out queries, by expected grades) stands what judgments
say of the same queries and rankings. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from judged_sample import Sample, demo_set, sample_set
from loop_sidecar import Measured, Place, begin, measure, sidecar, sidecar_command, simulate
from loop_training import (
    learns_from_labels,
    learns_from_log,
    train,
    train_under_load,
    write_training,
)

from sidecar.evaluation.measures import ndcg
from sidecar.models.machine import read_machine
from sidecar.simulation.click_models import CLICK_MODELS
from training.config import MODELS
from training.evaluation.lineup import CANDIDATE, PRODUCTION
from training.evaluation.significance import compare
from training.queries import normalised

# The reference with true labels is served whatever comes out, so little is measured on the way.
ACCEPT = (
    "gate.alpha=0.999999",
    "gate.least_gain=-1",
    "gate.latency_ratio=-1",
    "gate.rank_correlation=-1",
    "gate.measure_difference=-1",
    "evaluate.most_queries=50",
    "evaluate.latency_requests=0",
)


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
        {
            "simulated": simulated,
            **load,
            "log": told(clicks),
            "as_judged": as_judged(clicks, sample),
            "labels": told(labels),
        },
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


# What is told


def told(place: Place) -> dict[str, Any]:
    """What the run says of propensities and gates."""
    figures = {}
    for name in ("propensity", "bi_encoder/gate", "reranker/gate"):
        manifest = place.run / name / "manifest.json"
        if manifest.exists():
            figures[name] = json.loads(manifest.read_text(encoding="utf-8"))["figures"]
    return figures


def as_judged(place: Place, sample: Sample) -> dict[str, Any]:
    """Per model: candidate - production in nDCG@10 over the held-out queries, as the gate was shown
    it and as the judgments of these queries say, each with its standard error."""
    judged = {normalised(text): query_id for query_id, text in sample.train.queries.items()}
    figures = {}
    for model in MODELS:
        path = place.run / model / "evaluate" / "per_query.jsonl"
        if not path.exists():
            continue
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        truth = []
        for row in rows:
            qrels = sample.train.qrels[judged[normalised(row["query"])]]
            after, before = (ndcg(row["top"][name], qrels, 10) for name in (CANDIDATE, PRODUCTION))
            truth.append(after - before)
        figures[model] = {
            "queries": len(rows),
            "shown": mean_and_error([row["difference"] for row in rows]),
            "judged": mean_and_error(truth),
        }
    return figures


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Rounded."""
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return round(float(np.mean(values)), 5), round(error, 5)


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
    lines += [
        f"{model} over {one['queries']} held-out queries: the gate was shown "
        f"{one['shown'][0]:+.4f} +- {one['shown'][1]:.4f}, judgments say "
        f"{one['judged'][0]:+.4f} +- {one['judged'][1]:.4f}"
        for model, one in report["as_judged"].items()
    ]
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
