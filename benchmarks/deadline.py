"""What is left of a ranking under a deadline: open-loop load, and a second stage at fault.

    python benchmarks/deadline.py SET [--seconds S] [--candidates N] [--json]

SET is a judged set in BEIR layout. Each request reranks the N candidates that BM25 recalls for one
of its queries, by both rerankers, the caches bypassed, over gRPC against a server process of its
own. 100 % load is what the server completes without a deadline, eight requests at a time; arrivals
are Poisson, at their own time whatever has become of those before them. An answer is in time if it
is OK within the deadline as the client, with gRPC's own deadline, sees it; time counts from when
the request was due. `nDCG kept` is the mean nDCG@10 of the answers over that of the same queries
without a deadline. `said` is the share of answers without both stages in full that say so.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bm25s
import grpc
from servers import serving

from sidecar.evaluation.beir import read_corpus, read_judged_set
from sidecar.evaluation.measures import ndcg
from sidecar.models.machine import read_machine
from sidecar.recall.analyzers import analyzer
from sidecar.v1 import ranking_pb2, rerank_pb2, rerank_pb2_grpc

LOADS = (0.5, 1.0, 1.5)
DEADLINES_MS = (120, 300)
FAULTS = ("stalled", "killed", "nan")
FAULT_LOAD, FAULT_DEADLINE_MS = 1.0, 120
STAGES = ("INPUT", "FIRST_RERANK", "SECOND_RERANK")
CLOSED_LOOP = 8
PATIENCE_SECONDS = 30.0
COLUMNS = (
    ("load", 6, "{:.0%}"),
    ("deadline_ms", 12, "{}"),
    ("fault", 9, "{}"),
    ("requests", 9, "{}"),
    ("in_time", 9, "{:.2%}"),
    ("p50_ms", 8, "{:.1f}"),
    ("p99_ms", 8, "{:.1f}"),
    ("INPUT", 8, "{:.1%}"),
    ("FIRST_RERANK", 13, "{:.1%}"),
    ("SECOND_RERANK", 14, "{:.1%}"),
    ("whole", 7, "{:.1%}"),
    ("scored_1st", 11, "{:.1f}"),
    ("scored_2nd", 11, "{:.1f}"),
    ("nDCG kept", 10, "{:.1%}"),
    ("said", 7, "{:.1%}"),
)


@dataclass(frozen=True, slots=True)
class List:
    """One candidate list, ready to be sent, and its judgments."""

    request: rerank_pb2.RerankRequest
    judged: dict[str, int]

    def ndcg_of(self, ranking: ranking_pb2.Ranking) -> float:
        """nDCG@10 of an answer."""
        return ndcg([hit.doc_id for hit in ranking.hits], self.judged, 10)


@dataclass(slots=True)
class Tally:
    """What came of the requests of one row."""

    sent: int = 0
    seconds: list[float] = field(default_factory=list)
    answers: list[tuple[List, ranking_pb2.Ranking]] = field(default_factory=list)
    failures: collections.Counter[str] = field(default_factory=collections.Counter)


def main() -> None:
    """Prints the table."""
    arguments = parse()
    lists = read_lists(arguments.set, arguments.candidates, arguments.words)
    report = asyncio.run(measure(lists, arguments))
    print(json.dumps(report) if arguments.json else to_table(report))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path, metavar="SET")
    parser.add_argument("--seconds", type=float, default=60.0, help="of load in each row")
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--words", type=int, default=32, help="of each text that are sent")
    parser.add_argument("--data", type=Path, help="the server's data folder, kept")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only-faults", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def read_lists(folder: Path, candidates: int, words: int) -> list[List]:
    """A list for each judged query for which BM25 recalls so many documents."""
    judged = read_judged_set(folder, "test")
    documents = [document for _, document in read_corpus(folder)]
    to_terms = analyzer("english")
    index = bm25s.BM25()
    texts = [" ".join(document.fields.values()) for document in documents]
    index.index([to_terms(text) for text in texts], show_progress=False)
    lists = []
    for query_id, query in judged.queries.items():
        found, scores = index.retrieve([to_terms(query)], k=candidates, show_progress=False)
        if scores[0][-1] > 0:
            rows = [
                (documents[row].doc_id, texts[row], score)
                for row, score in zip(found[0], scores[0], strict=True)
            ]
            lists.append(List(to_request(query, rows, words), judged.qrels[query_id]))
    return lists


def to_request(
    query: str, rows: Sequence[tuple[str, str, float]], words: int
) -> rerank_pb2.RerankRequest:
    """Both stages over all candidates of `rows` (id, text, score), without caches."""
    return rerank_pb2.RerankRequest(
        query=query,
        candidates=[
            rerank_pb2.Candidate(
                doc_id=doc_id, text=" ".join(text.split()[:words]), score=float(score)
            )
            for doc_id, text, score in rows
        ],
        options=ranking_pb2.RankingOptions(
            first_rerank_depth=len(rows),
            second_rerank_depth=len(rows) // 2,
            cache=ranking_pb2.CACHE_POLICY_BYPASS,
        ),
    )


async def measure(lists: Sequence[List], arguments: argparse.Namespace) -> dict[str, Any]:
    """All rows."""
    with tempfile.TemporaryDirectory() as scratch:
        data = arguments.data or Path(scratch)
        with serving(to_command("none", data)) as (address, _):
            async with grpc.aio.insecure_channel(address) as channel:
                stub = rerank_pb2_grpc.RerankServiceStub(channel)
                unlimited = await answer_all(stub, lists)
                capacity = await closed_loop(stub, lists)
                rows = []
                for deadline_ms in () if arguments.only_faults else DEADLINES_MS:
                    for load in LOADS:
                        tally = await open_loop(
                            stub, lists, load * capacity, deadline_ms, arguments
                        )
                        rows.append(to_row(load, deadline_ms, "none", tally, unlimited))
                        print(to_line(rows[-1]), file=sys.stderr)
        for fault in FAULTS:
            with serving(to_command(fault, data)) as (address, _):
                async with grpc.aio.insecure_channel(address) as channel:
                    stub = rerank_pb2_grpc.RerankServiceStub(channel)
                    rate = FAULT_LOAD * capacity
                    tally = await open_loop(stub, lists, rate, FAULT_DEADLINE_MS, arguments)
            rows.append(to_row(FAULT_LOAD, FAULT_DEADLINE_MS, fault, tally, unlimited))
            print(to_line(rows[-1]), file=sys.stderr)
    machine = read_machine()
    return {
        "machine": f"{machine.name}, {machine.threads} threads",
        "versions": {"search-sidecar": version("search-sidecar"), "grpcio": version("grpcio")},
        "set": arguments.set.name,
        "lists": len(lists),
        "candidates": arguments.candidates,
        "capacity_per_second": round(capacity, 2),
        "unlimited_ndcg": round(statistics.fmean(unlimited.values()), 4),
        "rows": rows,
    }


def to_command(fault: str, data: Path) -> tuple[str, ...]:
    """That of a server with a second-stage reranker at fault."""
    script = Path(__file__).with_name("faulty_server.py")
    return sys.executable, str(script), "--data", str(data), "--fault", fault


async def answer_all(
    stub: rerank_pb2_grpc.RerankServiceStub, lists: Sequence[List]
) -> dict[str, float]:
    """nDCG@10 of each query without a deadline; warms the server up."""
    figures = {}
    for one in lists:
        answer = await stub.Rerank(one.request, timeout=PATIENCE_SECONDS)
        figures[one.request.query] = one.ndcg_of(answer.ranking)
    return figures


async def closed_loop(stub: rerank_pb2_grpc.RerankServiceStub, lists: Sequence[List]) -> float:
    """Requests a second, CLOSED_LOOP at a time, each to its last stage."""
    waiting = iter([*lists, *lists])

    async def work() -> int:
        done = 0
        for one in waiting:
            await stub.Rerank(one.request, timeout=PATIENCE_SECONDS)
            done += 1
        return done

    started = time.perf_counter()
    done = await asyncio.gather(*(work() for _ in range(CLOSED_LOOP)))
    return sum(done) / (time.perf_counter() - started)


async def open_loop(
    stub: rerank_pb2_grpc.RerankServiceStub,
    lists: Sequence[List],
    rate: float,
    deadline_ms: int,
    arguments: argparse.Namespace,
) -> Tally:
    """Poisson arrivals at `rate` a second."""
    random_ = random.Random(arguments.seed)
    tally, tasks = Tally(), set()
    due = time.perf_counter()
    end = due + arguments.seconds
    while (due := due + random_.expovariate(rate)) < end:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        one = random_.choice(lists)
        task = asyncio.create_task(ask(stub, one, due, deadline_ms / 1000.0, tally))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return tally


async def ask(
    stub: rerank_pb2_grpc.RerankServiceStub,
    one: List,
    due: float,
    deadline_seconds: float,
    tally: Tally,
) -> None:
    """One request and what came of it."""
    tally.sent += 1
    try:
        answer = await stub.Rerank(
            one.request, timeout=due + deadline_seconds - time.perf_counter()
        )
    except grpc.aio.AioRpcError as error:
        tally.failures[error.code().name] += 1
        return
    seconds = time.perf_counter() - due
    tally.seconds.append(seconds)
    if seconds <= deadline_seconds:
        tally.answers.append((one, answer.ranking))
    else:
        tally.failures["LATE"] += 1


def to_row(
    load: float, deadline_ms: int, fault: str, tally: Tally, unlimited: dict[str, float]
) -> dict[str, Any]:
    """One row of the table; shares are of the answers that were in time."""
    rankings = [ranking for _, ranking in tally.answers]
    reached = collections.Counter(ranking_pb2.Stage.Name(r.stage) for r in rankings)
    count = max(1, len(rankings))
    whole = [ranking for ranking in rankings if is_whole(ranking)]
    broken = [ranking for ranking in rankings if not is_whole(ranking)]
    kept = sum(one.ndcg_of(ranking) for one, ranking in tally.answers)
    best = sum(unlimited[one.request.query] for one, _ in tally.answers)
    times = sorted(1000.0 * seconds for seconds in tally.seconds) or [0.0]
    return {
        "load": load,
        "deadline_ms": deadline_ms,
        "fault": fault,
        "requests": tally.sent,
        "in_time": len(rankings) / max(1, tally.sent),
        "p50_ms": times[len(times) // 2],
        "p99_ms": times[int(len(times) * 0.99)],
        **{stage: reached[f"STAGE_{stage}"] / count for stage in STAGES},
        "whole": len(whole) / count,
        "scored_1st": mean_scored(rankings, ranking_pb2.STAGE_FIRST_RERANK),
        "scored_2nd": mean_scored(rankings, ranking_pb2.STAGE_SECOND_RERANK),
        "nDCG kept": kept / best if best else 0.0,
        "said": sum(ranking.degraded for ranking in broken) / max(1, len(broken)),
        "failures": dict(tally.failures),
    }


def is_whole(ranking: ranking_pb2.Ranking) -> bool:
    """Whether both rerankers scored all that they were to score."""
    return all(
        report.state == ranking_pb2.STAGE_STATE_COMPLETE
        for report in ranking.stages
        if report.stage >= ranking_pb2.STAGE_FIRST_RERANK
    )


def mean_scored(rankings: Sequence[ranking_pb2.Ranking], stage: ranking_pb2.Stage) -> float:
    """Candidates that a stage scored, on average."""
    scored = [r.candidates_out for ranking in rankings for r in ranking.stages if r.stage == stage]
    return sum(scored) / max(1, len(rankings))


def to_table(report: dict[str, Any]) -> str:
    """The report as text."""
    head = [
        report["machine"],
        ", ".join(f"{name} {number}" for name, number in report["versions"].items()),
        f"{report['lists']} lists of {report['candidates']} candidates of {report['set']}; "
        f"100 % load is {report['capacity_per_second']} requests a second; "
        f"nDCG@10 without a deadline {report['unlimited_ndcg']:.4f}",
        "",
        "".join(f"{name:>{width}}" for name, width, _ in COLUMNS),
    ]
    return "\n".join([*head, *(to_line(row) for row in report["rows"])])


def to_line(row: dict[str, Any]) -> str:
    """One row as text."""
    cells = "".join(f"{form.format(row[name]):>{width}}" for name, width, form in COLUMNS)
    return f"{cells}  {row['failures'] or ''}".rstrip()


if __name__ == "__main__":
    main()
