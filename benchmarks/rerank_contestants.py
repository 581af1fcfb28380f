"""Who takes part in `rerank.py`: each loads once and answers requests that come together."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
from cpu_contestants import PEERS, PeerWorker, Request, VllmServer

from sidecar.v1 import ranking_pb2, rerank_pb2, rerank_pb2_grpc

PATIENCE_SECONDS = 600.0
MESSAGE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Answers:
    """To requests that came at the same time: seconds until the last was answered, seconds until
    each was, and the scores of each."""

    seconds: float
    latencies: list[float]
    scores: list[list[float]]


class Contestant(Protocol):
    """One engine. `spins`: it keeps a core busy for a while after an answer."""

    name: str
    versions: dict[str, str]
    settings: str
    spins: bool

    def answer(self, requests: Sequence[Request]) -> Answers:
        """Scores all requests, which come at the same time."""

    def close(self) -> None:
        """Ends it."""


class SidecarServer:
    """`sidecar serve` with the second-stage reranker alone, asked over gRPC without caches."""

    name, spins, versions = "sidecar", False, {}

    def __init__(self, model: str, scratch: Path) -> None:
        config = scratch / "sidecar.toml"
        config.write_text(
            f"""
[bi_encoder]
model = ""
[first_reranker]
model = ""
[second_reranker]
model = {json.dumps(model)}
depth = 1000
truncation = "query:64;passage:512"
[cache]
token_bytes = 0
[server]
default_timeout_seconds = {PATIENCE_SECONDS}
"""
        )
        command = [sys.executable, "-m", "sidecar", "serve", "--listen", "127.0.0.1:0"]
        self._log = (scratch / "sidecar.log").open("w")
        self._process = subprocess.Popen(
            [*command, "--data", str(scratch / "data"), "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"sidecar serve ended: see {self._log.name}")
        kept = json.loads((scratch / "data" / "runtimes.json").read_text())
        choice = next(iter(kept.values()))["choice"]
        self.settings = f"{choice['runtime']} {choice['precision']} {choice['hint']}, gRPC"
        options = [("grpc.max_receive_message_length", MESSAGE_BYTES)]
        self._channel = grpc.insecure_channel(line.split()[-1], options=options)
        self._stub = rerank_pb2_grpc.RerankServiceStub(self._channel)

    def answer(self, requests: Sequence[Request]) -> Answers:
        """One call a request, each from a thread of its own."""
        sent = [self._message(query, passages) for query, passages in requests]
        return _at_once(lambda number: self._ask(sent[number]), len(sent))

    def close(self) -> None:
        """Ends the server."""
        self._channel.close()
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def _message(self, query: str, passages: Sequence[str]) -> rerank_pb2.RerankRequest:
        return rerank_pb2.RerankRequest(
            query=query,
            candidates=[
                rerank_pb2.Candidate(doc_id=str(row), text=text)
                for row, text in enumerate(passages)
            ],
            options=ranking_pb2.RankingOptions(
                top_k=len(passages),
                second_rerank_depth=len(passages),
                cache=ranking_pb2.CACHE_POLICY_BYPASS,
                minimum_stage=ranking_pb2.STAGE_SECOND_RERANK,
            ),
        )

    def _ask(self, request: rerank_pb2.RerankRequest) -> list[float]:
        ranking = self._stub.Rerank(request, timeout=PATIENCE_SECONDS).ranking
        logits = {hit.doc_id: hit.logit for hit in ranking.hits if hit.HasField("logit")}
        cached = sum(report.candidates_cached for report in ranking.stages)
        if len(logits) != len(request.candidates) or cached:
            raise SystemExit(f"{len(logits)} of {len(request.candidates)} scored, {cached} cached")
        return [logits[candidate.doc_id] for candidate in request.candidates]


class Peer(PeerWorker):
    """A library in an environment of its own."""

    def __init__(self, kind: str, python: str, folder: Path) -> None:
        self.settings = ""
        super().__init__(
            kind.replace("-fp", " fp").replace("-bf", " bf"),
            "",
            python,
            ["serve", str(folder), kind],
        )

    def answer(self, requests: Sequence[Request]) -> Answers:
        """All at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(requests) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        self.settings = answer["settings"]
        return Answers(answer["seconds"], answer["latencies"], answer["scores"])


class Vllm(VllmServer):
    """vLLM's own server, asked over HTTP by as many clients as there are requests."""

    settings = "all cores, HTTP"

    def __init__(self, python: str, folder: Path, scratch: Path, preload: Sequence[str]) -> None:
        super().__init__("vLLM bf16", "bf16", python, folder, scratch, preload)
        if preload:
            self.settings += ", " + " and ".join(Path(p).name.split(".")[0] for p in preload)

    def answer(self, requests: Sequence[Request]) -> Answers:
        """Each request from a client of its own."""
        return _at_once(lambda number: self._ask(requests[number]), len(requests))


def _at_once(ask: Callable[[int], list[float]], count: int) -> Answers:
    def timed(number: int) -> tuple[list[float], float]:
        return ask(number), time.perf_counter()

    with ThreadPoolExecutor(count) as clients:
        started = time.perf_counter()
        answers = list(clients.map(timed, range(count)))
        seconds = time.perf_counter() - started
    return Answers(
        seconds, [end - started for _, end in answers], [scores for scores, _ in answers]
    )


def to_transformers(python: str, folder: Path, out: Path) -> None:
    """The weights of a carried folder as the peers load them; `python` has the [train] extra."""
    root = Path(__file__).parents[1]
    command = [python, "-m", "training", "to-transformers", str(folder), str(out)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")


def measured_rates(python: str) -> dict[str, Any]:
    """GFLOP/s of one matrix product of the model's shape, by precision; `python` has torch."""
    done = subprocess.run([python, str(PEERS), "rates"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{PEERS.name} rates failed:\n{done.stderr[-3000:]}")
    rates: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["rates"]
    return rates
