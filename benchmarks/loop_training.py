"""`sidecar-train` in the loop: on clicks while searches arrive, and on labels."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from judged_sample import Sample
from load import Call, Load, between, milliseconds, ratio_of, to_window
from loop_sidecar import COLLECTION, ENCODER, LOOK_SECONDS, RERANKER, Place

from sidecar.v1 import ranking_pb2

STAGES = {ENCODER: ranking_pb2.STAGE_DENSE, RERANKER: ranking_pb2.STAGE_SECOND_RERANK}
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
RATE_WHILE_TRAINING = 0.2
PUBLISH = ("bi_encoder/publish", "reranker/publish")
REFUSED, NOTHING = 10, "nothing"  # an exit code, and what publish says then


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
