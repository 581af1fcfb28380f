"""Models exchanged under load: a reranker, the bi-encoder with its vectors, a canary, its
promotion, the way back; and a corrupted version, which has to be refused.

    python benchmarks/swap.py SET [--documents N] [--rate R] [--seconds S] [--rounds N] [--data DIR]
                              [--json]

SET is a judged set in BEIR layout. A server process of its own takes the carried models from a
registry in which each is published twice: two versions of the same weights answer alike and differ
in their revision, which every answer names. Searches arrive at random, R a second on average, from
sessions of one search each, without caches. Each round goes through all changes, with S seconds
before each; figures of the rounds are pooled.

For each change: the calls that failed (aim 0); p50 and p99 in the seconds before, from its start to
its flip, and in the seconds after; and the answers of the wrong revision (aim 0): of calls that
were sent after an answer of the new one had come, or that had come before the change had begun. Of
a canary it is the sessions on it that are compared with its share, and sessions that asked twice
and were answered by both (aim 0).
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from servers import SERVE, serving

from sidecar.config import RegistryConfig
from sidecar.models.hub import CARRIED
from sidecar.models.machine import read_machine
from sidecar.storage.registry import open_registry
from sidecar.v1 import model_pb2, model_pb2_grpc, ranking_pb2, search_pb2, search_pb2_grpc

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
TIMEOUT_SECONDS = 30.0
# Versions "1" and "2" are sound, "3" of the second-stage reranker is corrupted.
CORRUPTED = "3"


@dataclass(frozen=True, slots=True)
class Call:
    """One search: when it was due, sent and answered, and the revisions that answered, by model."""

    session: str
    due: float
    sent: float
    answered: float
    revisions: dict[str, str]
    failed: str = ""
    degraded: bool = False


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
    """What is reported of one change over all rounds. Times are in milliseconds."""

    change: str
    seconds: float
    calls: int
    failed: int
    degraded: int
    wrong: int
    p50_before: float
    p50_during: float
    p50_after: float
    p99_before: float
    p99_during: float
    p99_after: float


class Bench:
    """A running sidecar under load."""

    def __init__(self, channel: grpc.aio.Channel, queries: Sequence[str], seed: int) -> None:
        self.calls: list[Call] = []
        self.changes: list[Change] = []
        self.mixed_sessions = 0
        self.canary_sessions: list[bool] = []
        self._search = search_pb2_grpc.SearchServiceStub(channel)
        self._models = model_pb2_grpc.ModelServiceStub(channel)
        self._queries = queries
        self._random = random.Random(seed)

    @contextlib.asynccontextmanager
    async def under_load(self, rate: float) -> AsyncIterator[None]:
        """Searches arrive inside."""
        load = asyncio.create_task(self._arrive(rate))
        try:
            yield
        finally:
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)

    async def _arrive(self, rate: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            due = time.perf_counter()
            while True:
                due += self._random.expovariate(rate)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                tasks.create_task(self.ask(f"{self._random.getrandbits(64):x}", due))

    async def ask(self, session: str, due: float) -> Call:
        """One search of a session."""
        options = ranking_pb2.RankingOptions(
            cache=ranking_pb2.CACHE_POLICY_BYPASS, visitor=ranking_pb2.Visitor(session_id=session)
        )
        query = self._random.choice(self._queries)
        request = search_pb2.SearchRequest(collection=COLLECTION, query=query, options=options)
        sent = time.perf_counter()
        try:
            reply = await self._search.Search(request, timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            call = Call(session, due, sent, time.perf_counter(), {}, error.code().name)
        else:
            ranking, now = reply.ranking, time.perf_counter()
            call = Call(session, due, sent, now, revisions_of(ranking), "", ranking.degraded)
        self.calls.append(call)
        return call

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
            session = f"twice-{self._random.getrandbits(32):x}-{number}"
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
    parser.add_argument("--seconds", type=float, default=10.0, help="before each change")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--first", type=int, default=30, help="depth of the first-stage reranker")
    parser.add_argument("--second", type=int, default=10, help="of the second-stage reranker")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", metavar="DIR", type=Path, help="keeps the choice of runtimes")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def publish(folder: Path) -> None:
    """A registry with each carried model in two versions, the first in production."""
    registry = open_registry(RegistryConfig(url=str(folder)), folder.parent)
    for name, carried in MODELS.items():
        for _ in range(2):
            registry.publish(CARRIED / carried, name)
        registry.move_aliases(name, {"production": "1"}, {})


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
        async with bench.under_load(arguments.rate):
            for _ in range(arguments.rounds):
                refusals.add(await run_round(bench, arguments.seconds))
            await asyncio.sleep(arguments.seconds)
    return {
        "cpu": read_machine().name,
        "cores": os.cpu_count(),
        "arguments": {key: str(value) for key, value in vars(arguments).items()},
        "calls": len(bench.calls),
        "failed": dict(collections.Counter(call.failed for call in bench.calls if call.failed)),
        "refusal of the corrupted version": sorted(refusals),
        "sessions on the canary": f"{np.mean(bench.canary_sessions):.2f}",
        "sessions answered by both": bench.mixed_sessions,
        "rows": [asdict(row) for row in to_rows(bench, arguments.seconds)],
    }


async def run_round(bench: Bench, seconds: float) -> str:
    """Every change once; at its end the versions that served at its beginning serve again."""
    pause: Callable[[], Any] = lambda: asyncio.sleep(seconds)  # noqa: E731
    await pause()
    await bench.activate("reranker", "second", "2")
    await pause()
    await bench.roll_back("rollback of the reranker", "second", "1")
    await pause()
    await bench.canary("second", "2")
    await bench.compare_sessions(20, await bench.revision_of("second", "2"))
    await pause()
    await bench.promote("second", "2")
    await pause()
    await bench.activate("reranker", "second", "1")
    await pause()
    refusal = await bench.be_refused()
    await pause()
    await bench.activate("bi-encoder", "encoder", "2")
    await pause()
    await bench.roll_back("rollback of the bi-encoder", "encoder", "1")
    return refusal


def revisions_of(ranking: ranking_pb2.Ranking) -> dict[str, str]:
    """The revision of each model that took part, by its name in the registry."""
    found = {report.stage: report.model_revision for report in ranking.stages}
    return {model: found[stage] for model, stage in STAGES.items() if found.get(stage)}


def to_rows(bench: Bench, seconds: float) -> list[Row]:
    """One for each kind of change."""
    names = list(dict.fromkeys(change.name for change in bench.changes))
    return [
        to_row(name, [each for each in bench.changes if each.name == name], bench, seconds)
        for name in names
    ]


def to_row(name: str, changes: Sequence[Change], bench: Bench, seconds: float) -> Row:
    """The figures of one kind of change, all rounds together."""
    before, during, after = [], [], []
    for each in changes:
        before += between(bench.calls, each.started - seconds, each.started)
        during += between(bench.calls, each.started, each.flipped)
        after += between(bench.calls, each.flipped, each.flipped + seconds)
    calls = [*before, *during, *after]
    times = [milliseconds(part) for part in (before, during, after)]
    return Row(
        name,
        float(np.mean([each.flipped - each.started for each in changes])),
        len(calls),
        sum(bool(call.failed) for call in calls),
        sum(call.degraded for call in calls),
        sum(wrong_answers(bench.calls, each, seconds) for each in changes),
        *(percentile(part, 50) for part in times),
        *(percentile(part, 99) for part in times),
    )


def between(calls: Sequence[Call], start: float, end: float) -> list[Call]:
    """The calls that were due in a window."""
    return [call for call in calls if start <= call.due < end]


def milliseconds(calls: Sequence[Call]) -> list[float]:
    """From when they were due to their answer."""
    return [1000.0 * (call.answered - call.due) for call in calls if not call.failed]


def percentile(times: Sequence[float], at: float) -> float:
    """NaN without any."""
    return float(np.percentile(times, at)) if times else float("nan")


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
    """For people."""
    head = f"{'':28}{'seconds':>8}{'calls':>7}{'failed':>7}{'wrong':>6}"
    head += (
        f"{'p50 before':>12}{'during':>8}{'after':>7}{'p99 before':>12}{'during':>8}{'after':>7}"
    )
    lines = [f"{report['cpu']}, {report['cores']} cores; {report['calls']} searches", head]
    for row in report["rows"]:
        times = "".join(
            f"{row[f'{p}_before']:>12.0f}{row[f'{p}_during']:>8.0f}{row[f'{p}_after']:>7.0f}"
            for p in ("p50", "p99")
        )
        counts = f"{row['seconds']:>8.1f}{row['calls']:>7}{row['failed']:>7}{row['wrong']:>6}"
        lines.append(f"{row['change']:28}{counts}{times}")
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
