"""Ten thousand good, bad, hurried, cancelled and vanishing calls: what they leave behind.

    python benchmarks/soak.py [--calls N] [--seed N] [--data DIR] [--json]

Calls go, a number of them at a time, over gRPC to a server process of its own with the carried
models: reranks, streams, sessions, searches and upserts, chosen by a seeded random generator. A
hurried call has a deadline of 1 to 60 ms, a cancelled one is cancelled 0 to 60 ms after it was
sent, a vanishing one has its connection reset then, without a word to the server. After every tenth
of the calls the server comes to rest, and a row is read from its metrics and /proc: what is still
queued, accepted or under way (aim 0), its memory, and what of it the caches say they hold (they are
bounded, and filled here by texts no two of which are alike; aim: the rest is flat after the first
tenth), and how many pairs went to a model after everybody who wanted them had left: `waste` is that
number for each call that left, as a share of a mean batch (aim under 2 %).
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import hashlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc

from sidecar.models.machine import read_machine
from sidecar.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    document_pb2,
    document_pb2_grpc,
    ranking_pb2,
    rerank_pb2,
    rerank_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
)

TENTHS = 10
AT_A_TIME = 16
LONGEST_STAY_SECONDS = 0.06
PATIENCE_SECONDS = 30.0
DOCUMENTS = 300
# Of every 100 calls.
MANNERS = {"good": 40, "bad": 15, "hurried": 15, "cancelled": 18, "vanishing": 12}
WORDS = [
    *(
        "tea",
        "kettle",
        "boils",
        "water",
        "green",
        "black",
        "paint",
        "tent",
        "lamp",
        "wool",
        "stove",
    ),
    *("trail", "cup", "leaf", "steel", "glass", "electric", "warm", "light", "storm", "coffee"),
    *("hours", "litre", "gas", "brew", "pour", "hold", "quiet", "small", "large", "old", "new"),
]
COLUMNS = (
    ("calls", 7, "{:,}"),
    ("seconds", 8, "{:.0f}"),
    ("rss_mib", 8, "{:.1f}"),
    ("cache_mib", 10, "{:.1f}"),
    ("threads", 8, "{}"),
    ("queued_pairs", 13, "{:g}"),
    ("accepted_s", 11, "{:.2g}"),
    ("under_way", 10, "{:g}"),
    ("batches", 8, "{:g}"),
    ("pairs", 8, "{:g}"),
    ("left", 7, "{:,}"),
    ("wasted", 7, "{:g}"),
    ("waste", 7, "{:.2%}"),
)

Send = Callable[["Stubs", float | None], Awaitable[Any]]  # with the deadline, if any


class Stubs:
    """The services over one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.rerank = rerank_pb2_grpc.RerankServiceStub(channel)
        self.search = search_pb2_grpc.SearchServiceStub(channel)
        self.documents = document_pb2_grpc.DocumentServiceStub(channel)
        self.collections = collection_pb2_grpc.CollectionServiceStub(channel)


@dataclass(slots=True)
class Tally:
    """What became of the calls so far, by manner and status."""

    sent: int = 0
    ends: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)

    @property
    def left(self) -> int:
        """Calls whose caller left before the answer."""
        return sum(
            count
            for (manner, code), count in self.ends.items()
            if manner in ("cancelled", "vanishing", "hurried") and code != "OK"
        )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--data", type=Path, help="the server's data folder, kept")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = asyncio.run(measure(arguments))
    print(json.dumps(report) if arguments.json else to_table(report))


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All rows."""
    with tempfile.TemporaryDirectory() as scratch:
        data = arguments.data or Path(scratch)
        with serving(data) as server:
            rows, tally = await soak(server, arguments)
    machine = read_machine()
    return {
        "machine": f"{machine.name}, {machine.threads} threads",
        "versions": {"search-sidecar": version("search-sidecar"), "grpcio": version("grpcio")},
        "calls": {f"{manner} {code}": n for (manner, code), n in sorted(tally.ends.items())},
        "rows": rows,
    }


@dataclass(frozen=True, slots=True)
class Server:
    """A `sidecar serve` of its own."""

    pid: int
    address: str
    metrics: str

    def read_metrics(self) -> dict[str, float]:
        """Sums of all samples by name, labels left out."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics") as reply:
            text = reply.read().decode()
        sums: dict[str, float] = collections.defaultdict(float)
        for name, value in re.findall(r"^(\w+)(?:\{.*\})? (\S+)$", text, re.M):
            sums[name] += float(value)
        return sums

    def read_status(self, key: str) -> int:
        """A number of /proc/PID/status: "VmRSS" in KiB, "Threads"."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(rf"^{key}:\s+(\d+)", status, re.M)[0])


@contextmanager
def serving(data: Path) -> Iterator[Server]:
    """A server that serves; it must end with 0 when it is stopped."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        metrics = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "sidecar", "serve", "--data", str(data)]
    command += ["--listen", "127.0.0.1:0"]
    variables = {"SIDECAR_SERVER__METRICS_LISTEN": metrics}
    with (
        (data / "soak.log").open("w") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | variables
        ) as process,
    ):
        try:
            assert process.stdout is not None
            yield Server(process.pid, process.stdout.readline().split()[-1], metrics)
        finally:
            process.terminate()
            code = process.wait(60)
    log_text = (data / "soak.log").read_text()
    if code != 0 or "Traceback" in log_text:
        raise SystemExit(f"the server ended with {code}:\n{log_text[-4000:]}")


async def soak(server: Server, arguments: argparse.Namespace) -> tuple[list[Any], Tally]:
    """Sends the calls, a tenth at a time."""
    chance, tally, rows = random.Random(arguments.seed), Tally(), []
    started = time.monotonic()
    async with grpc.aio.insecure_channel(server.address) as channel:
        stubs = Stubs(channel)
        await fill(stubs)
        for tenth in range(TENTHS):
            until = arguments.calls * (tenth + 1) // TENTHS
            await send_until(until, server, stubs, chance, tally)
            await at_rest(server)
            rows.append(to_row(server, tally, time.monotonic() - started))
            print(to_line(rows[-1]), file=sys.stderr)
    return rows, tally


async def fill(stubs: Stubs) -> None:
    """A collection to search, in place of an earlier run's."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        await stubs.collections.DropCollection(collection_pb2.DropCollectionRequest(name="docs"))
    await stubs.collections.CreateCollection(collection_pb2.CreateCollectionRequest(name="docs"))
    chance = random.Random(0)
    call = stubs.documents.UpsertDocuments(iter([batch(chance, DOCUMENTS)]))
    assert [one async for one in call]


async def send_until(
    until: int, server: Server, stubs: Stubs, chance: random.Random, tally: Tally
) -> None:
    """Sends calls, so many at a time, until so many were sent in all."""

    async def lane() -> None:
        while tally.sent < until:
            tally.sent += 1
            manner = chance.choices(list(MANNERS), list(MANNERS.values()))[0]
            stay = chance.uniform(0.0, LONGEST_STAY_SECONDS)
            send = bad_call(chance) if manner == "bad" else good_call(chance)
            code = await end_of(manner, send, stay, server, stubs)
            tally.ends[manner, code] += 1

    await asyncio.gather(*(lane() for _ in range(AT_A_TIME)))


async def end_of(manner: str, send: Send, stay: float, server: Server, stubs: Stubs) -> str:
    """The status of a call made in a manner; "left" where the caller did not hear of one."""
    try:
        match manner:
            case "hurried":
                await asyncio.wait_for(send(stubs, max(0.001, stay)), PATIENCE_SECONDS)
            case "cancelled":
                call = asyncio.ensure_future(send(stubs, None))
                await asyncio.wait({call}, timeout=stay)
                call.cancel()
                await call
            case "vanishing":
                await vanish(send, stay, server)
            case _:
                await asyncio.wait_for(send(stubs, None), PATIENCE_SECONDS)
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
            print(f"{manner}: {error.code().name}: {error.details()}", file=sys.stderr)
        return str(error.code().name)
    except (asyncio.CancelledError, TimeoutError):
        return "left"
    return "OK"


async def vanish(send: Send, stay: float, server: Server) -> None:
    """Sends over a connection of its own, which is reset after a while."""
    async with (
        relay(server.address) as (address, reset),
        grpc.aio.insecure_channel(address) as channel,
    ):
        call = asyncio.ensure_future(send(Stubs(channel), None))
        await asyncio.wait({call}, timeout=stay)
        reset()
        if not call.done():
            call.cancel()
        await call


@asynccontextmanager
async def relay(address: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """A way to the server that can be cut: the server's side sees a reset, no goodbye."""
    host, _, port = address.rpartition(":")
    writers: list[asyncio.StreamWriter] = []
    ways: list[asyncio.Task[None]] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    async def way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, towards = await asyncio.open_connection(host, int(port))
        writers.extend((writer, towards))
        await asyncio.gather(pump(reader, towards), pump(onward, writer))

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ways.append(asyncio.create_task(way(reader, writer)))

    def reset() -> None:
        for writer in writers:
            writer.transport.abort()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}", reset
    finally:
        listening.close()
        reset()
        for task in ways:
            task.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


def good_call(chance: random.Random) -> Send:
    """A call as it should be."""
    kind = chance.choice(["rerank", "rerank", "stream", "session", "search", "upsert"])
    match kind:
        case "rerank":
            request = rerank_request(chance)
            name = [("sidecar-caller", chance.choice("abc"))]
            return lambda stubs, s: stubs.rerank.Rerank(request, metadata=name, timeout=s)
        case "stream":
            stream = rerank_pb2.RerankStreamRequest(rerank=rerank_request(chance))
            return lambda stubs, s: drained(stubs.rerank.RerankStream(stream, timeout=s))
        case "session":
            frames = session_frames(chance)
            return lambda stubs, s: drained(stubs.rerank.RerankSession(iter(frames), timeout=s))
        case "search":
            search = search_pb2.SearchRequest(collection="docs", query=words(chance, 3))
            return lambda stubs, s: stubs.search.Search(search, timeout=s)
        case _:
            batches = [batch(chance, 2), batch(chance, 2)]
            upsert = iter(batches)
            return lambda stubs, s: drained(stubs.documents.UpsertDocuments(upsert, timeout=s))


def bad_call(chance: random.Random) -> Send:
    """A call with a fault."""
    request = rerank_request(chance)
    match chance.randrange(6):
        case 0:
            request.query = " "
        case 1:
            request.candidates.append(request.candidates[0])
        case 2:
            request.options.top_k = 0
        case 3:
            request.candidates[0].content_digest = bytes(32)
            request.candidates[0].text = "of another text"
        case 4:
            frames = session_frames(chance)[1:]  # without `start`
            return lambda stubs, s: drained(stubs.rerank.RerankSession(iter(frames), timeout=s))
        case _:
            search = search_pb2.SearchRequest(collection="no-such-collection", query="tea")
            return lambda stubs, s: stubs.search.Search(search, timeout=s)
    return lambda stubs, s: stubs.rerank.Rerank(request, timeout=s)


async def drained(call: Any) -> int:
    """The number of responses of a stream, read to its end."""
    count = 0
    try:
        async for _ in call:
            count += 1
    except asyncio.CancelledError:
        call.cancel()
        raise
    return count


def rerank_request(chance: random.Random) -> rerank_pb2.RerankRequest:
    """A list of 1 to 24 candidates, some by digest, some of whose pairs came before."""
    candidates = []
    for number in range(chance.randint(1, 24)):
        text = words(chance, chance.randint(0, 60))
        digest = hashlib.sha256(text.encode()).digest() if chance.random() < 0.3 else b""
        if digest and chance.random() < 0.3:
            text = ""
        candidate = rerank_pb2.Candidate(doc_id=str(number), text=text, content_digest=digest)
        candidates.append(candidate)
    options = ranking_pb2.RankingOptions(
        request_class=chance.choice(ranking_pb2.RequestClass.values()),
        long_passages=chance.choice(ranking_pb2.LongPassages.values()),
        cache=chance.choice(ranking_pb2.CachePolicy.values()),
    )
    return rerank_pb2.RerankRequest(
        query=words(chance, 3),
        candidates=candidates,
        options=options,
        lexical_signal=chance.random() < 0.3,
    )


def session_frames(chance: random.Random) -> list[rerank_pb2.RerankSessionRequest]:
    """One to four requests of a session, one after the other."""
    frames = []
    for number in range(chance.randint(1, 4)):
        request, name = rerank_request(chance), f"r{number}"
        start = rerank_pb2.SessionStart(query=request.query, options=request.options)
        chunk = rerank_pb2.SessionCandidates(candidates=request.candidates)
        frames += [
            rerank_pb2.RerankSessionRequest(request_id=name, start=start),
            rerank_pb2.RerankSessionRequest(request_id=name, candidates=chunk),
            rerank_pb2.RerankSessionRequest(request_id=name, end=rerank_pb2.SessionEnd()),
        ]
    return frames


def batch(chance: random.Random, count: int) -> document_pb2.UpsertDocumentsRequest:
    """Documents, of as many ids as the collection has: it does not grow."""
    documents = [
        document_pb2.Document(
            doc_id=str(chance.randrange(DOCUMENTS)),
            fields={"title": words(chance, 3), "text": words(chance, 30)},
        )
        for _ in range(count)
    ]
    unique = {document.doc_id: document for document in documents}
    return document_pb2.UpsertDocumentsRequest(collection="docs", documents=unique.values())


def words(chance: random.Random, count: int) -> str:
    """So many words."""
    return " ".join(chance.choices(WORDS, k=count))


async def at_rest(server: Server) -> None:
    """Returns when nothing is under way any more, or after some seconds."""
    for _ in range(100):
        metrics = await asyncio.to_thread(server.read_metrics)
        if metrics["sidecar_calls_under_way"] == metrics["sidecar_queue_pairs"] == 0:
            return
        await asyncio.sleep(0.1)


def to_row(server: Server, tally: Tally, seconds: float) -> dict[str, Any]:
    """What is to be seen of the server now."""
    metrics = server.read_metrics()
    batches = metrics["sidecar_batches_total"]
    pairs, wasted = metrics["sidecar_scored_pairs_total"], metrics["sidecar_wasted_pairs_total"]
    mean_batch = pairs / batches if pairs else 1.0
    return {
        "calls": tally.sent,
        "seconds": round(seconds, 1),
        "rss_mib": round(server.read_status("VmRSS") / 1024, 1),
        "threads": server.read_status("Threads"),
        "cache_mib": round(metrics["sidecar_cache_bytes"] / 2**20, 1),
        "queued_pairs": metrics["sidecar_queue_pairs"],
        "accepted_s": abs(round(metrics["sidecar_admitted_seconds"], 9)),
        "under_way": metrics["sidecar_calls_under_way"],
        "batches": batches,
        "pairs": pairs,
        "left": tally.left,
        "wasted": wasted,
        "waste": wasted / max(1, tally.left) / mean_batch,
    }


def to_table(report: dict[str, Any]) -> str:
    """The report for people."""
    head = "".join(f"{name:>{width}}" for name, width, _ in COLUMNS)
    names = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    ends = ", ".join(f"{n:,} {end}" for end, n in report["calls"].items())
    lines = [f"{report['machine']}; {names}", ends, head, *map(to_line, report["rows"])]
    return "\n".join(lines)


def to_line(row: dict[str, Any]) -> str:
    """One line of the table."""
    return "".join(f"{form.format(row[name]):>{width}}" for name, width, form in COLUMNS)


if __name__ == "__main__":
    main()
