"""Feedback: what is lost when the server is killed, what logging costs, what a wrong event gets.

    python benchmarks/feedback.py SET [--sessions N] [--kills N] [--searches N] [--events N]
                                      [--part kills|cost|rate|wrong ...] [--data DIR] [--json]

SET is a judged set in BEIR layout; it is indexed into DIR (or a folder that is thrown away) and
served by `sidecar serve` with its default configuration.

kills  `sidecar simulate` runs N sessions while the server is killed (SIGKILL) and started again, at
       times that are drawn at random. Then the log is rolled, and the ids that the simulation has
       written down as acknowledged are compared with those in Parquet. The rerankers score few
       candidates (10 and 5), since it is not them that are measured.
cost   searches against two servers, one that logs and one that does not, in turns of 50, eight at a
       time, caches on; times are the client's. A turn is of one server; which begins is drawn.
rate   events a second of one server: one at a time from eight callers, and in a stream of hundreds.
wrong  one event of each kind, and what it got.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import pyarrow.dataset as ds
from google.protobuf.timestamp_pb2 import Timestamp
from servers import SERVE, free_port, index, serving

from sidecar.evaluation.beir import read_judged_set
from sidecar.models.machine import read_machine
from sidecar.pipeline.ranking_tokens import RankingTokens
from sidecar.v1 import feedback_pb2 as pb
from sidecar.v1 import feedback_pb2_grpc, ranking_pb2, search_pb2, search_pb2_grpc

PARTS = ("kills", "cost", "rate", "wrong")
TURN_SEARCHES = 50
CALLERS = 8
STREAM_EVENTS = 100
OFF = {"SIDECAR_FEEDBACK__ENABLED": "false"}
SHALLOW = {"SIDECAR_FIRST_RERANKER__DEPTH": "10", "SIDECAR_SECOND_RERANKER__DEPTH": "5"}
# A machine that does other things, too, makes the models look too slow for eight callers.
UNLIMITED = {"SIDECAR_ADMISSION__BACKLOG_SECONDS": "0"}
SECRET = "a secret that only this benchmark has"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path, metavar="SET")
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--between", type=float, default=20.0, help="mean seconds between kills")
    parser.add_argument("--searches", type=int, default=4000, help="of each server")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--data", type=Path, help="the server's data folder, kept")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = arguments.data or Path(scratch) / "data"
        collection = index(arguments.set, data)
        report = head(arguments.set)
        for part in arguments.part or PARTS:
            report[part] = globals()[part](arguments, data, collection, Path(scratch))
    print(json.dumps(report) if arguments.json else to_text(report))


def head(folder: Path) -> dict[str, Any]:
    """Where and with what this was measured."""
    machine = read_machine()
    return {
        "machine": f"{machine.name}, {machine.threads} threads",
        "versions": {
            name: version(name) for name in ("search-sidecar", "grpcio", "pyarrow", "protobuf")
        },
        "set": folder.name,
    }


@contextlib.contextmanager
def serving_feedback(
    data: Path, port: int = 0, keys: Mapping[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of `sidecar serve` with a secret that is known here, and its process."""
    command = (*SERVE, "--data", str(data), "--listen", f"127.0.0.1:{port}")
    variables = {"SIDECAR_FEEDBACK__SECRET": SECRET, **(keys or {})}
    with serving(command, data / "server.log", variables) as served:
        yield served


# Killed servers


def kills(
    arguments: argparse.Namespace, data: Path, collection: str, scratch: Path
) -> dict[str, Any]:
    """Sessions while the server is killed; then Parquet against what was acknowledged."""
    data = copied(data, scratch / "killed")
    acknowledged, port = scratch / "acknowledged", free_port()
    source = random.Random(arguments.seed)
    simulation: subprocess.Popen[str] | None = None
    killed = 0
    while simulation is None or simulation.poll() is None:
        with serving_feedback(data, port, keys=SHALLOW) as (_, process):
            if simulation is None:  # it wants a server to begin with
                simulation = simulate(arguments, collection, port, acknowledged)
            with contextlib.suppress(subprocess.TimeoutExpired):
                may_kill = killed < arguments.kills
                wait = arguments.between * source.uniform(0.5, 1.5) if may_kill else None
                simulation.wait(wait)
            if simulation.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
    assert simulation is not None
    said, _ = simulation.communicate()
    in_log = log_bytes(data)
    roll(data)
    return compare(json.loads(said), acknowledged, data, killed, in_log)


def simulate(
    arguments: argparse.Namespace, collection: str, port: int, acknowledged: Path
) -> subprocess.Popen[str]:
    """`sidecar simulate`, which waits for servers that are away."""
    command = [sys.executable, "-m", "sidecar", "simulate", "--set", str(arguments.set)]
    command += ["--collection", collection, "--address", f"127.0.0.1:{port}"]
    command += ["--sessions", str(arguments.sessions), "--seed", str(arguments.seed)]
    command += ["--acknowledged", str(acknowledged), "--json"]
    command += ["--patience", "600", "--timeout", "30"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def compare(
    simulated: dict[str, Any], acknowledged: Path, data: Path, killed: int, in_log: int
) -> dict[str, Any]:
    """Acknowledged ids against those logged, and the share that joins offline."""
    told = set(acknowledged.read_text().split())
    impressions, events = (
        ds.dataset(data / "feedback" / kind, partitioning="hive")
        for kind in ("impressions", "events")
    )
    rows = events.to_table(columns=["event_id", "impression_id"]).to_pydict()
    logged = collections.Counter(rows["event_id"])
    shown = collections.Counter(
        impressions.to_table(["impression_id"]).to_pydict()["impression_id"]
    )
    sessions = simulated["sessions"]
    parquet = sum(path.stat().st_size for path in (data / "feedback").rglob("*.parquet"))
    return {
        "sessions": sessions,
        "kills": killed,
        "seconds": simulated["seconds"],
        "searches": simulated["searches"],
        "failed_searches": simulated["failed_searches"],
        "calls_sent_again": simulated["retries"],
        "events_a_second": simulated["events_per_second"],
        "statuses": simulated["statuses"],
        "acknowledged": len(told),
        "lost": len(told - set(logged)),
        "twice": sum(count > 1 for count in (*logged.values(), *shown.values())),
        "logged_but_not_acknowledged": len(set(logged) - told),
        "impressions": len(shown),
        "joined_when_told": simulated["joined_share"],
        "joined_offline": sum(one in shown for one in rows["impression_id"]) / max(1, len(logged)),
        "log_bytes_a_session": round(in_log / sessions),
        "parquet_bytes_a_session": round(parquet / sessions),
    }


def copied(data: Path, folder: Path) -> Path:
    """Another data folder with the same collections, and no feedback."""
    shutil.copytree(data, folder, ignore=shutil.ignore_patterns("feedback", "lock", "server.log"))
    return folder


def roll(data: Path) -> None:
    """Rolls all there is."""
    command = [sys.executable, "-m", "sidecar", "feedback", "roll", "--all", "--data", str(data)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def log_bytes(data: Path) -> int:
    """What the log's database takes."""
    return sum(path.stat().st_size for path in (data / "feedback").glob("log.sqlite*"))


# What logging costs


def cost(
    arguments: argparse.Namespace, data: Path, collection: str, scratch: Path
) -> dict[str, Any]:
    """Times of searches with and without logging."""
    other = copied(data, scratch / "unlogged")
    queries = list(read_judged_set(arguments.set, "test").queries.values())
    with (
        serving_feedback(data, keys=UNLIMITED) as (logging, _),
        serving_feedback(other, keys={**UNLIMITED, **OFF}) as (silent, _),
    ):
        addresses = {"logging": logging, "silent": silent}
        turns = asyncio.run(
            take_turns(addresses, collection, queries, arguments.searches, arguments.seed)
        )
    times = {name: sorted(ms for turn in turns[name] for ms in turn) for name in turns}
    report: dict[str, Any] = {"searches_each": len(times["logging"])}
    for name, ordered in times.items():
        report[f"{name}_p50_ms"] = round(statistics.median(ordered), 2)
        report[f"{name}_p99_ms"] = round(ordered[int(0.99 * len(ordered))], 2)
    # Of turns that were taken one after the other, so that what else the machine does matters less.
    pairs = zip(turns["logging"], turns["silent"], strict=True)
    ratios = [statistics.median(one) / statistics.median(other) for one, other in pairs]
    report["p50_ratio_of_turns"] = round(statistics.median(ratios), 3)
    report["p99_ratio"] = round(report["logging_p99_ms"] / report["silent_p99_ms"], 3)
    return report


async def take_turns(
    addresses: dict[str, str], collection: str, queries: Sequence[str], count: int, seed: int
) -> dict[str, list[list[float]]]:
    """Milliseconds of the searches of each turn, by server, once each query was searched."""
    source, turns = random.Random(seed), collections.defaultdict(list)
    async with contextlib.AsyncExitStack() as channels:
        stubs = {
            name: search_pb2_grpc.SearchServiceStub(
                await channels.enter_async_context(grpc.aio.insecure_channel(address))
            )
            for name, address in addresses.items()
        }
        for stub in stubs.values():
            for query in queries:
                await stub.Search(to_search(collection, query), timeout=300)
        for _ in range(count // TURN_SEARCHES):
            chosen = [source.choice(queries) for _ in range(TURN_SEARCHES)]
            for name in source.sample(sorted(stubs), len(stubs)):
                turns[name].append(await turn(stubs[name], collection, chosen))
    return turns


async def turn(stub: Any, collection: str, queries: Sequence[str]) -> list[float]:
    """Milliseconds of searches, a few at a time."""
    waiting, times = list(queries), []

    async def caller() -> None:
        while waiting:
            request = to_search(collection, waiting.pop())
            started = time.perf_counter()
            await stub.Search(request, timeout=30)
            times.append(1000.0 * (time.perf_counter() - started))

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return times


def to_search(collection: str, query: str) -> search_pb2.SearchRequest:
    """A search of a user."""
    visitor = ranking_pb2.Visitor(session_id=uuid.uuid4().hex, user_id="somebody")
    options = ranking_pb2.RankingOptions(visitor=visitor)
    return search_pb2.SearchRequest(collection=collection, query=query, options=options)


# Events a second


def rate(
    arguments: argparse.Namespace, data: Path, collection: str, scratch: Path
) -> dict[str, Any]:
    """Events of one server, sent in two ways."""
    query = next(iter(read_judged_set(arguments.set, "test").queries.values()))
    with serving_feedback(data) as (address, _):
        return asyncio.run(measure_rate(address, collection, query, arguments.events))


async def measure_rate(address: str, collection: str, query: str, count: int) -> dict[str, Any]:
    """Events a second, one at a time and in a stream."""
    async with grpc.aio.insecure_channel(address) as channel:
        search = search_pb2_grpc.SearchServiceStub(channel)
        ranking = (await search.Search(to_search(collection, query))).ranking
        stub: Any = feedback_pb2_grpc.FeedbackServiceStub(channel)
        unary, streamed = count // 10, count
        times: list[float] = []

        async def caller() -> None:
            for _ in range(unary // CALLERS):
                started = time.perf_counter()
                await stub.LogEvents(pb.LogEventsRequest(events=[to_click(ranking)]))
                times.append(1000.0 * (time.perf_counter() - started))

        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        one_at_a_time = len(times) / (time.perf_counter() - started)
        requests = [
            pb.LogEventStreamRequest(events=[to_click(ranking) for _ in range(STREAM_EVENTS)])
            for _ in range(streamed // STREAM_EVENTS)
        ]
        started = time.perf_counter()
        replies = [reply async for reply in stub.LogEventStream(iter(requests))]
        seconds = time.perf_counter() - started
    accepted = sum(
        result.status == pb.EVENT_STATUS_ACCEPTED for reply in replies for result in reply.results
    )
    return {
        "one_at_a_time_a_second": round(one_at_a_time),
        "one_at_a_time_p50_ms": round(statistics.median(times), 2),
        "one_at_a_time_p99_ms": round(sorted(times)[int(0.99 * len(times))], 2),
        "streamed_a_second": round(accepted / seconds),
    }


def to_click(ranking: ranking_pb2.Ranking) -> pb.Event:
    """A click on the first hit."""
    return pb.Event(
        event_id=uuid.uuid4().hex,
        ranking_token=ranking.ranking_token,
        doc_id=ranking.hits[0].doc_id,
        click=pb.Click(),
    )


# Wrong events


def wrong(
    arguments: argparse.Namespace, data: Path, collection: str, scratch: Path
) -> dict[str, Any]:
    """What one event of each kind got."""
    query = next(iter(read_judged_set(arguments.set, "test").queries.values()))
    with serving_feedback(data) as (address, _), grpc.insecure_channel(address) as channel:
        search = search_pb2_grpc.SearchServiceStub(channel)
        ranking = search.Search(to_search(collection, query)).ranking
        stub = feedback_pb2_grpc.FeedbackServiceStub(channel)
        stub.LogEvents(pb.LogEventsRequest(events=[changed(ranking, event_id="known")]))
        roll(data)
        fresh = search.Search(to_search(collection, query)).ranking
        kinds = one_of_each(ranking, fresh)
        reply = stub.LogEvents(pb.LogEventsRequest(events=list(kinds.values())))
    return {name: in_words(result) for name, result in zip(kinds, reply.results, strict=True)}


def one_of_each(ranking: ranking_pb2.Ranking, fresh: ranking_pb2.Ranking) -> dict[str, pb.Event]:
    """Events by what is wrong with them, of a ranking that was rolled unless it is `fresh`."""
    now, ours = time.time(), RankingTokens(SECRET.encode())
    return {
        "nothing": changed(fresh),
        "of a document that was not shown": changed(fresh, doc_id="none"),
        "of a ranking that was rolled": changed(ranking),
        "duplicate": changed(ranking, event_id="known"),
        "late, by 167 hours": changed(ranking, ranking_token=signed(ours, now - 167 * 3600)),
        "expired, by an hour": changed(ranking, ranking_token=signed(ours, now - 169 * 3600)),
        "forged": changed(ranking, ranking_token=signed(RankingTokens(b"guessed"), now)),
        "a token that was cut": changed(ranking, ranking_token=ranking.ranking_token[:-4]),
        "no token": changed(ranking, ranking_token=""),
        "5,000 bytes": changed(ranking, event_id="x" * 5000),
        "an id of 129 bytes": changed(ranking, event_id="x" * 129),
        "two minutes ahead": changed(ranking, time=Timestamp(seconds=int(now) + 120)),
        "no action": pb.Event(event_id="x", ranking_token=ranking.ranking_token, doc_id="d"),
    }


def changed(ranking: ranking_pb2.Ranking, **fields: Any) -> pb.Event:
    """A click with other fields."""
    event = to_click(ranking)
    event.MergeFrom(pb.Event(**fields))
    if "ranking_token" in fields:
        event.ranking_token = fields["ranking_token"]
    return event


def signed(tokens: RankingTokens, answered: float) -> str:
    """A token of some ranking that was answered then."""
    return tokens.sign(uuid.uuid4().bytes, int(answered * 1e6))


def in_words(result: pb.EventResult) -> str:
    """A result in one line."""
    status = pb.EventStatus.Name(result.status).removeprefix("EVENT_STATUS_")
    if result.status != pb.EVENT_STATUS_REFUSED:
        return f"{status}, {'joined' if result.joined else 'not joined'}"
    refusal = pb.EventRefusal.Name(result.refusal).removeprefix("EVENT_REFUSAL_")
    return f"{status}, {refusal}: {result.detail}"


def to_text(report: dict[str, Any]) -> str:
    """The report as text."""
    lines = [
        report["machine"],
        ", ".join(f"{name} {number}" for name, number in report["versions"].items()),
        f"over {report['set']}",
    ]
    for part in PARTS:
        if part in report:
            lines += ["", part]
            lines += [f"  {name:33} {value}" for name, value in report[part].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
