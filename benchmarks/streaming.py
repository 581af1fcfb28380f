"""Time until each frame of a stream arrives: FUSED, FIRST_RERANK, SECOND_RERANK.

    python benchmarks/streaming.py SET [--queries N] [--data DIR] [--json]

SET is a judged set in BEIR layout; it is indexed into DIR (or a folder that is thrown away) and
served by `sidecar serve` with its default configuration. One query at a time, the caches bypassed,
once without a deadline of note and once with 300 ms; times are the client's, from the call.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
from servers import SERVE, index, serving

from sidecar.evaluation.beir import read_judged_set
from sidecar.models.machine import read_machine
from sidecar.v1 import ranking_pb2, search_pb2, search_pb2_grpc

TIMEOUTS_MS = (30_000, 300)
STAGES = ("FUSED", "FIRST_RERANK", "SECOND_RERANK")
WARM_UP = 5


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path, metavar="SET")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--data", type=Path, help="the server's data folder, kept")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    queries = list(read_judged_set(arguments.set, "test").queries.values())
    with tempfile.TemporaryDirectory() as scratch:
        data = arguments.data or Path(scratch)
        collection = index(arguments.set, data)
        listen = ("--listen", "127.0.0.1:0")
        with serving((*SERVE, "--data", str(data), *listen)) as (address, _):
            chosen = queries[: arguments.queries + WARM_UP]
            rows = asyncio.run(measure(address, collection, chosen))
    machine = read_machine()
    report = {
        "machine": f"{machine.name}, {machine.threads} threads",
        "versions": {"search-sidecar": version("search-sidecar"), "grpcio": version("grpcio")},
        "set": arguments.set.name,
        "rows": rows,
    }
    print(json.dumps(report) if arguments.json else to_table(report))


async def measure(address: str, collection: str, queries: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each timeout and stage."""
    rows = []
    async with grpc.aio.insecure_channel(address) as channel:
        stub = search_pb2_grpc.SearchServiceStub(channel)
        for timeout_ms in TIMEOUTS_MS:
            times: dict[str, list[float]] = collections.defaultdict(list)
            for number, query in enumerate(queries):
                arrived = await frames(stub, collection, query, timeout_ms)
                if number >= WARM_UP:
                    for stage, milliseconds in arrived.items():
                        times[stage].append(milliseconds)
            count = len(queries) - WARM_UP
            rows += [to_row(timeout_ms, stage, times[stage], count) for stage in (*STAGES, "last")]
    return rows


async def frames(
    stub: search_pb2_grpc.SearchServiceStub, collection: str, query: str, timeout_ms: int
) -> dict[str, float]:
    """Milliseconds until the first frame of each stage, and until the last frame of all."""
    request = search_pb2.SearchStreamRequest(
        search=search_pb2.SearchRequest(
            collection=collection,
            query=query,
            options=ranking_pb2.RankingOptions(cache=ranking_pb2.CACHE_POLICY_BYPASS),
        )
    )
    arrived: dict[str, float] = {}
    started = time.perf_counter()
    async for response in stub.SearchStream(request, timeout=timeout_ms / 1000.0):
        milliseconds = 1000.0 * (time.perf_counter() - started)
        stage = ranking_pb2.Stage.Name(response.ranking.stage).removeprefix("STAGE_")
        arrived.setdefault(stage, milliseconds)
        arrived["last"] = milliseconds
    return arrived


def to_row(timeout_ms: int, stage: str, times: list[float], queries: int) -> dict[str, Any]:
    """One row; `share` of the queries reached the stage."""
    ordered = sorted(times) or [float("nan")]
    return {
        "timeout_ms": timeout_ms,
        "frame": stage,
        "share": len(times) / queries,
        "p50_ms": round(ordered[len(ordered) // 2], 1),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)], 1),
    }


def to_table(report: dict[str, Any]) -> str:
    """The report as text."""
    lines = [
        report["machine"],
        ", ".join(f"{name} {number}" for name, number in report["versions"].items()),
        f"SearchStream over {report['set']}, one query at a time",
        "",
        f"{'timeout_ms':>10} {'frame':>14} {'share':>7} {'p50_ms':>8} {'p99_ms':>8}",
    ]
    lines += [
        f"{row['timeout_ms']:>10} {row['frame']:>14} {row['share']:>7.1%} {row['p50_ms']:>8.1f}"
        f" {row['p99_ms']:>8.1f}"
        for row in report["rows"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
