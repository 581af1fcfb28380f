"""The sidecar of the loop: made, indexed, searched by simulated users, and measured."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from judged_sample import Sample
from servers import SERVE, publish_carried, serving

from sidecar.evaluation.beir import JudgedSet
from sidecar.evaluation.measures import ndcg
from sidecar.v1 import (
    document_pb2,
    document_pb2_grpc,
    ranking_pb2,
    search_pb2,
    search_pb2_grpc,
)

COLLECTION = "loop"
ENCODER, RERANKER = "all-minilm", "pair-minilm"
MODELS = {ENCODER: "all-minilm-l6-v2", RERANKER: "pair-minilm-l6"}
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
EXPLORATION = 0.1  # share of rankings of which two neighbours are swapped
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
