"""Models exchanged under load: a reranker, the bi-encoder with its vectors, a canary, its
promotion, the way back; and a corrupted version, which has to be refused.

    python benchmarks/swap.py SET [--documents N] [--rate R] [--seconds S] [--rounds N] [--data DIR]
                              [--json]

SET is a judged set in BEIR layout. A server process of its own takes the carried models from a
registry in which each is published several times: versions of the same weights answer alike and
differ in their revision, which every answer names. Searches arrive at random, R a second on
average, from sessions of one search each, without caches. Each round goes through all changes, with
twice S seconds between them. Changes of a kind are pooled over the rounds: one alone lasts too few
calls to have a p99. Every bi-encoder that comes has to encode all documents.

For each kind of change: the calls that failed (aim 0); p50 and p99 of the calls that were due in
the S seconds before, from its start to its flip, and in the S seconds after, each with the number
of calls; what p99 during is to that before, with the 5th and 95th percentile of that ratio when the
calls are drawn again (bootstrap); p99 of a minute in which there is one such change, all three
windows weighted by their share of it, beside that of all calls before changes; and the answers of
the wrong revision (aim 0): of calls that were sent after an answer of the new one had come, or that
had come before the change had begun. Of a canary it is the sessions on it that are compared with
its share, and sessions that asked twice and were answered by both (aim 0).
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from load import (
    Call,
    Load,
    Times,
    Window,
    between,
    milliseconds,
    percentile,
    ratio_of,
    to_window,
)
from servers import SERVE, publish_carried, serving

from sidecar.config import RegistryConfig
from sidecar.models.hub import CARRIED
from sidecar.models.machine import read_machine
from sidecar.storage.registry import open_registry
from sidecar.v1 import model_pb2, model_pb2_grpc, ranking_pb2

COLLECTION = "swap"
MODELS = {
    "encoder": "all-minilm-l6-v2",
    "first": "pair-minilm-l3",
    "second": "pair-minilm-l6",
}
STAGES = {"encoder": ranking_pb2.STAGE_DENSE, "second": ranking_pb2.STAGE_SECOND_RERANK}
CONFIGURATION = """
[server]
default_timeout_seconds = 30.0
[bi_encoder]
model = "registry:encoder"
[first_reranker]
model = "registry:first"
depth = {first}
[second_reranker]
model = "registry:second"
depth = {second}
[registry]
url = "{registry}"
"""
CANARY_SHARE = 0.5
# The next of these has no generation while the one before serves: it was dropped on the way.
ENCODERS = ("1", "2", "3")
# Of the second-stage reranker; those before it are sound.
CORRUPTED = "3"
RELOADS = 7  # of the second-stage reranker in a round, by turns of its two versions
LOADS = ("reranker", "rollback of the reranker")  # the same work: pooled in a row of their own
MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Change:
    """One change: when it was asked for, when it had flipped, and the revision it brought."""

    name: str
    model: str
    started: float
    flipped: float
    revision: str


@dataclass(frozen=True, slots=True)
class Row:
    """What is reported of one kind of change over all rounds. Times are in milliseconds.

    `ratio` is p99 during to before, `least` and `most` the bounds of nine in ten draws of it.
    """

    change: str
    changes: int
    seconds: float
    failed: int
    degraded: int
    wrong: int
    before: Window
    during: Window
    after: Window
    ratio: float
    least: float
    most: float
    p99_minute: float


class Bench(Load):
    """A running sidecar under load, and the changes that are made to it."""

    def __init__(self, channel: grpc.aio.Channel, queries: Sequence[str], seed: int) -> None:
        super().__init__(channel, COLLECTION, queries, STAGES, seed)
        self.changes: list[Change] = []
        self.mixed_sessions = 0
        self.canary_sessions: list[bool] = []
        self._models = model_pb2_grpc.ModelServiceStub(channel)

    async def activate(self, name: str, model: str, version: str) -> None:
        """A version for all sessions."""
        request = model_pb2.ActivateModelRequest(model=model, version=version)
        await self._change(name, model, version, self._models.ActivateModel(request))

    async def roll_back(self, name: str, model: str, version: str) -> None:
        """The version before, which is `version`."""
        request = model_pb2.RollBackModelRequest(model=model)
        await self._change(name, model, version, self._models.RollBackModel(request))

    async def canary(self, model: str, version: str) -> None:
        """A version for a share of the sessions."""
        request = model_pb2.StartCanaryRequest(model=model, version=version, share=CANARY_SHARE)
        await self._change("canary", model, version, self._models.StartCanary(request))

    async def promote(self, model: str, version: str) -> None:
        """The canary for all."""
        started = time.perf_counter()
        await self._models.PromoteCanary(model_pb2.PromoteCanaryRequest(model=model))
        await self._note("promotion", model, version, started)

    async def be_refused(self) -> str:
        """The corrupted version; what was said."""
        started = time.perf_counter()
        request = model_pb2.ActivateModelRequest(model="second", version=CORRUPTED)
        try:
            async for _ in self._models.ActivateModel(request):
                pass
        except grpc.aio.AioRpcError as error:
            await self._note("corrupted version", "second", "production", started)
            return f"{error.code().name}: {error.details()}"
        return "it was taken"

    async def compare_sessions(self, count: int, revision: str) -> None:
        """Sessions that ask twice while there is a canary."""
        for number in range(count):
            session = f"twice-{self.random.getrandbits(32):x}-{number}"
            now = time.perf_counter()
            first, second = [await self.ask(session, now) for _ in range(2)]
            self.mixed_sessions += first.revisions != second.revisions
            self.canary_sessions.append(first.revisions.get("second") == revision)

    async def revision_of(self, model: str, version: str) -> str:
        """What answers name when a version serves."""
        request = model_pb2.DescribeModelRequest(model=model, version=version)
        return str((await self._models.DescribeModel(request)).version.revision)

    async def _change(self, name: str, model: str, version: str, call: Any) -> None:
        started = time.perf_counter()
        async for _ in call:
            pass
        await self._note(name, model, version, started)

    async def _note(self, name: str, model: str, version: str, started: float) -> None:
        flipped = time.perf_counter()
        revision = await self.revision_of(model, version)
        self.changes.append(Change(name, model, started, flipped, revision))


def main() -> None:
    """Measures and prints."""
    arguments = parse()
    with contextlib.ExitStack() as stack:
        data = arguments.data or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        data.mkdir(parents=True, exist_ok=True)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        publish(scratch / "registry")
        corrupt(scratch / "registry")
        command = to_command(scratch, data, arguments)
        address, _ = stack.enter_context(serving(command, scratch / "log"))
        index(arguments, address, scratch)
        report = asyncio.run(measure(arguments, address))
    print(json.dumps(report) if arguments.json else to_table(report))


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", metavar="SET", type=Path)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=8.0, help="searches a second")
    parser.add_argument("--seconds", type=float, default=3.0, help="before and after each change")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--first", type=int, default=30, help="depth of the first-stage reranker")
    parser.add_argument("--second", type=int, default=10, help="of the second-stage reranker")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", metavar="DIR", type=Path, help="keeps the choice of runtimes")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def publish(folder: Path) -> None:
    """A registry with each carried model in several versions, the first in production."""
    versions = {name: len(ENCODERS) if name == "encoder" else 2 for name in MODELS}
    publish_carried(folder, MODELS, versions)


def corrupt(folder: Path) -> None:
    """A third version of the second-stage reranker, one bit of its weights turned."""
    registry = open_registry(RegistryConfig(url=str(folder)), folder.parent)
    version = registry.publish(CARRIED / MODELS["second"], "second")
    weights = folder / "second" / "versions" / version / "model.onnx"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)


def to_command(scratch: Path, data: Path, arguments: argparse.Namespace) -> tuple[str, ...]:
    """That of a server whose models are those of the registry."""
    config = scratch / "sidecar.toml"
    config.write_text(
        CONFIGURATION.format(
            registry=scratch / "registry", first=arguments.first, second=arguments.second
        )
    )
    return (*SERVE, "--data", str(data), "--listen", "127.0.0.1:0", "--config", str(config))


def index(arguments: argparse.Namespace, address: str, scratch: Path) -> None:
    """Documents of the set, for as many as are asked for."""
    part = scratch / "documents.jsonl"
    with (arguments.set / "corpus.jsonl").open() as corpus:
        lines = [line for _, line in zip(range(arguments.documents), corpus, strict=False)]
    part.write_text("".join(lines))
    command = [sys.executable, "-m", "sidecar", "index", str(part), "--to", address]
    command += ["--collection", COLLECTION, "--create"]
    subprocess.run(command, check=True, stdout=sys.stderr)


async def measure(arguments: argparse.Namespace, address: str) -> dict[str, Any]:
    """All rounds."""
    queries = [
        json.loads(line)["text"]
        for line in (arguments.set / "queries.jsonl").open()
        if line.strip()
    ]
    async with grpc.aio.insecure_channel(address) as channel:
        bench = Bench(channel, queries, arguments.seed)
        for query in queries[:20]:
            await bench.ask(query, time.perf_counter())
        bench.calls.clear()
        refusals = set()
        async with bench.arriving(arguments.rate):
            for number in range(arguments.rounds):
                print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
                refusals.add(await run_round(bench, arguments.seconds, number))
            await asyncio.sleep(arguments.seconds)
    changes = bench.changes
    before = [times_of(bench.calls, each, arguments.seconds)[0] for each in changes]
    return {
        "cpu": read_machine().name,
        "cores": os.cpu_count(),
        "arguments": {key: str(value) for key, value in vars(arguments).items()},
        "calls": len(bench.calls),
        "failed": dict(collections.Counter(call.failed for call in bench.calls if call.failed)),
        "refusal of the corrupted version": sorted(refusals),
        "sessions on the canary": f"{np.mean(bench.canary_sessions):.2f}",
        "sessions answered by both": bench.mixed_sessions,
        "p99 before all": percentile(np.concatenate(before), 99),
        "calls before all": sum(map(len, before)),
        "rows": [asdict(row) for row in to_rows(bench, arguments.seconds)],
    }


async def run_round(bench: Bench, seconds: float, number: int) -> str:
    """Every change once; at its end the versions that served at its beginning serve again, but for
    the bi-encoder."""
    pause: Callable[[], Any] = lambda: asyncio.sleep(2.0 * seconds)  # noqa: E731
    for step in range(RELOADS):
        await pause()
        await bench.activate("reranker", "second", str(2 - step % 2))
    await pause()
    await bench.roll_back("rollback of the reranker", "second", "1")
    await pause()
    await bench.canary("second", "2")
    await pause()
    await bench.compare_sessions(20, await bench.revision_of("second", "2"))
    await pause()
    await bench.promote("second", "2")
    await pause()
    await bench.activate("reranker", "second", "1")
    await pause()
    refusal = await bench.be_refused()
    await pause()
    first, second, third = [ENCODERS[(2 * number + step) % len(ENCODERS)] for step in range(3)]
    await bench.activate("bi-encoder", "encoder", second)
    await pause()
    await bench.roll_back("rollback of the bi-encoder", "encoder", first)
    await pause()
    await bench.activate("bi-encoder", "encoder", third)
    return refusal


def to_rows(bench: Bench, seconds: float) -> list[Row]:
    """One for each kind of change, and one for all that load a reranker and change nothing else."""
    names = list(dict.fromkeys(change.name for change in bench.changes))
    kinds = {name: (name,) for name in names} | {"both that load a reranker": LOADS}
    quiet = np.concatenate([times_of(bench.calls, each, seconds)[0] for each in bench.changes])
    return [
        to_row(name, [each for each in bench.changes if each.name in kind], bench, seconds, quiet)
        for name, kind in kinds.items()
    ]


def to_row(name: str, changes: Sequence[Change], bench: Bench, seconds: float, quiet: Times) -> Row:
    """The figures of one kind of change, all rounds together."""
    windows = [times_of(bench.calls, each, seconds) for each in changes]
    before, during, after = (np.concatenate(parts) for parts in zip(*windows, strict=True))
    near = [
        call
        for each in changes
        for call in between(bench.calls, each.started - seconds, each.flipped + seconds)
    ]
    lasted = float(np.mean([each.flipped - each.started for each in changes]))
    minute = [(quiet, MINUTE - lasted - seconds), (during, lasted), (after, seconds)]
    ratio, least, most = ratio_of(during, before)
    return Row(
        name,
        len(changes),
        lasted,
        failed=sum(bool(call.failed) for call in near),
        degraded=sum(call.degraded for call in near),
        wrong=sum(wrong_answers(bench.calls, each, seconds) for each in changes),
        before=to_window(before),
        during=to_window(during),
        after=to_window(after),
        ratio=ratio,
        least=least,
        most=most,
        p99_minute=weighted_p99(minute),
    )


def times_of(calls: Sequence[Call], change: Change, seconds: float) -> tuple[Times, Times, Times]:
    """Of the calls before, during and after a change."""
    begin, end = change.started, change.flipped
    windows = ((begin - seconds, begin), (begin, end), (end, end + seconds))
    before, during, after = (milliseconds(between(calls, *window)) for window in windows)
    return before, during, after


def weighted_p99(parts: Sequence[tuple[Times, float]]) -> float:
    """Of calls that share the weight of their part."""
    parts = [(times, weight) for times, weight in parts if len(times) and weight > 0]
    times = np.concatenate([times for times, _ in parts])
    weights = np.concatenate([np.full(len(times), weight / len(times)) for times, weight in parts])
    order = np.argsort(times)
    reached = np.cumsum(weights[order])
    return float(times[order][np.searchsorted(reached, 0.99 * reached[-1])])


def wrong_answers(calls: Sequence[Call], change: Change, seconds: float) -> int:
    """Answers of a revision that cannot be: see the head of this file."""
    if change.name == "canary":
        return 0  # both revisions answer
    near = [
        call
        for call in calls
        if change.model in call.revisions
        and change.started - seconds <= call.sent < change.flipped + seconds
    ]
    new = [call for call in near if call.revisions[change.model] == change.revision]
    if change.name in ("promotion", "corrupted version"):
        late = [call for call in near if call.sent > change.flipped]
        return sum(call.revisions[change.model] != change.revision for call in late)
    first = min((call.answered for call in new), default=change.flipped)
    early = sum(call.answered < change.started for call in new)
    late = [call for call in near if call.sent > min(first, change.flipped)]
    return early + sum(call.revisions[change.model] != change.revision for call in late)


def to_table(report: dict[str, Any]) -> str:
    """For people. Of each window: calls, p50/p99."""
    head = f"{'':27}{'changes':>7}{'seconds':>8}{'failed':>7}{'wrong':>6}"
    head += f"{'before':>15}{'during':>15}{'after':>15}{'p99 ratio':>20}{'minute':>8}"
    lines = [f"{report['cpu']}, {report['cores']} cores; {report['calls']} searches", head]
    for row in report["rows"]:
        windows = "".join(
            f"{row[key]['calls']:>6} {row[key]['p50']:.0f}/{row[key]['p99']:.0f}".rjust(15)
            for key in ("before", "during", "after")
        )
        counts = f"{row['changes']:>7}{row['seconds']:>8.1f}{row['failed']:>7}{row['wrong']:>6}"
        ratio = f"{row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f})"
        lines.append(f"{row['change']:27}{counts}{windows}{ratio:>20}{row['p99_minute']:>8.0f}")
    quiet = f"{report['p99 before all']:.0f} ms of {report['calls before all']} calls"
    lines.append(f"p99 of a minute without a change: {quiet}")
    for key in (
        "failed",
        "refusal of the corrupted version",
        "sessions on the canary",
        "sessions answered by both",
    ):
        lines.append(f"{key}: {report[key]}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
