"""A collection moves to a backend under searches and writes: time, what is missing, what failed.

    python benchmarks/migrate.py --backend opensearch=http://127.0.0.1:9200 [--documents N] [--json]

A sidecar process of its own, with the carried bi-encoder and without rerankers, over gRPC. Texts
are words drawn by Zipf's law, vectors are noise that comes with the documents (nothing is encoded
but queries). One searcher and one writer go on all the time, the writer a given number of documents
a second, of which some are new, some replaced and some deleted; both are measured before the move
and during it. Afterwards every acknowledged document is read back, and every deleted one asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from servers import SERVE, serving

from sidecar.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    document_pb2,
    document_pb2_grpc,
    maintenance_pb2,
    maintenance_pb2_grpc,
    ranking_pb2,
    search_pb2,
    search_pb2_grpc,
)

WORDS = 20_000
WORDS_OF_DOCUMENT = 40
BATCH_DOCUMENTS = 500
WRITTEN_AT_ONCE = 10


def main() -> None:
    """Prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", metavar="KIND=URL", required=True)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--writes", type=int, default=50, help="documents a second")
    parser.add_argument("--rate", type=int, default=0, help="most documents copied a second")
    parser.add_argument("--before-seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "sidecar.toml"
        kind, _, url = arguments.backend.partition("=")
        config.write_text(
            '[first_reranker]\nmodel = ""\n[second_reranker]\nmodel = ""\n'
            f'[backends.target]\nkind = "{kind}"\nurl = "{url}"\n'
        )
        command = [*SERVE, "--data", f"{folder}/data", "--listen", "127.0.0.1:0"]
        log = Path(folder) / "log"
        with serving([*command, "--config", str(config)], log) as (address, _):
            row = asyncio.run(Run(address, arguments).run())
    about = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if arguments.json:
        print(json.dumps({"machine": about, "backend": kind, **row}))
        return
    print(f"{about}; to {kind}")
    for name, figure in row.items():
        print(f"{name:<28}{figure:>14,}")


@dataclass
class Run:
    """One move. `held` are the texts that were acknowledged, `gone` the ids that were deleted."""

    address: str
    arguments: argparse.Namespace
    name: str = field(default_factory=lambda: f"m{uuid.uuid4().hex[:10]}")
    held: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    searches: list[tuple[float, float]] = field(default_factory=list)  # began, milliseconds
    writes: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    degraded: int = 0

    async def run(self) -> dict[str, float]:
        """The figures."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            self._connect(channel)
            await self._load()
            stop = asyncio.Event()
            tasks = [asyncio.create_task(each(stop)) for each in (self._search, self._write)]
            await asyncio.sleep(self.arguments.before_seconds)
            began = time.monotonic()
            migrated = await self._migrate()
            ended = time.monotonic()
            await asyncio.sleep(self.arguments.before_seconds / 4)
            stop.set()
            await asyncio.gather(*tasks)
            figures = self._figures(began, ended, migrated) | await self._check()
            await self._collections.DropCollection(
                collection_pb2.DropCollectionRequest(name=self.name)
            )
            return figures

    def _connect(self, channel: grpc.aio.Channel) -> None:
        self._documents: Any = document_pb2_grpc.DocumentServiceStub(channel)
        self._searching: Any = search_pb2_grpc.SearchServiceStub(channel)
        self._collections: Any = collection_pb2_grpc.CollectionServiceStub(channel)
        self._maintenance: Any = maintenance_pb2_grpc.MaintenanceServiceStub(channel)
        self._rng = np.random.default_rng(7)
        shares = 1.0 / np.arange(1, WORDS + 1)
        self._shares = shares / shares.sum()

    async def _load(self) -> None:
        request = collection_pb2.CreateCollectionRequest(name=self.name)
        created = (await self._collections.CreateCollection(request)).collection
        self._dimensions = created.dimensions
        for start in range(0, self.arguments.documents, BATCH_DOCUMENTS):
            some = range(start, min(start + BATCH_DOCUMENTS, self.arguments.documents))
            is_last = some.stop == self.arguments.documents
            await self._upsert([f"d{number}" for number in some], searchable=is_last)

    def _text(self, count: int) -> str:
        drawn = self._rng.choice(WORDS, size=count, p=self._shares)
        return " ".join(f"word{number}" for number in drawn)

    async def _upsert(self, doc_ids: list[str], searchable: bool = False) -> None:
        texts = {doc_id: self._text(WORDS_OF_DOCUMENT) for doc_id in doc_ids}
        documents = [
            document_pb2.Document(
                doc_id=doc_id,
                fields={"text": text},
                vector=self._rng.standard_normal(self._dimensions),
            )
            for doc_id, text in texts.items()
        ]

        async def requests() -> AsyncIterator[document_pb2.UpsertDocumentsRequest]:
            yield document_pb2.UpsertDocumentsRequest(
                collection=self.name,
                documents=documents,
                acknowledgement=document_pb2.ACKNOWLEDGEMENT_SEARCHABLE
                if searchable
                else document_pb2.ACKNOWLEDGEMENT_DURABLE,
            )

        async for _ in self._documents.UpsertDocuments(requests()):
            self.held |= texts
            self.gone -= texts.keys()

    async def _search(self, stop: asyncio.Event) -> None:
        options = ranking_pb2.RankingOptions(top_k=10, last_stage=ranking_pb2.STAGE_FUSED)
        while not stop.is_set():
            request = search_pb2.SearchRequest(
                collection=self.name, query=self._text(3), options=options
            )
            began = time.monotonic()
            try:
                answer = await self._searching.Search(request)
                self.degraded += answer.ranking.degraded
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"search: {error.details()}")
            self.searches.append((began, 1000.0 * (time.monotonic() - began)))

    async def _write(self, stop: asyncio.Event) -> None:
        number, next_write = 0, time.monotonic()
        while not stop.is_set():
            count = self.arguments.documents
            replaced = self._rng.integers(count, size=WRITTEN_AT_ONCE // 2)
            new = range(count + number, count + number + WRITTEN_AT_ONCE // 2)
            number += len(new)
            began = time.monotonic()
            try:
                await self._upsert(list({f"d{each}" for each in (*replaced, *new)}))
                dropped = [f"d{self._rng.integers(count)}", f"d{new[0]}"]
                await self._documents.DeleteDocuments(
                    document_pb2.DeleteDocumentsRequest(collection=self.name, doc_ids=dropped)
                )
                self.gone.update(dropped)
                for doc_id in dropped:
                    self.held.pop(doc_id, None)
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"write: {error.details()}")
            self.writes.append((began, 1000.0 * (time.monotonic() - began)))
            next_write += WRITTEN_AT_ONCE / self.arguments.writes
            await asyncio.sleep(max(0.0, next_write - time.monotonic()))

    async def _migrate(self) -> maintenance_pb2.MigratedCollection:
        request = maintenance_pb2.MigrateCollectionRequest(
            collection=self.name,
            backend=collection_pb2.Backend(name="target"),
            documents_per_second=self.arguments.rate,
        )
        events = [each async for each in self._maintenance.MigrateCollection(request)]
        migrated: maintenance_pb2.MigratedCollection = events[-1].migrated
        return migrated

    def _figures(
        self, began: float, ended: float, migrated: maintenance_pb2.MigratedCollection
    ) -> dict[str, float]:
        row: dict[str, float] = {
            "documents": self.arguments.documents,
            "seconds": round(ended - began, 1),
            "compared documents": migrated.compared_documents,
            "lexical overlap": round(migrated.lexical_overlap, 3),
            "dense overlap": round(migrated.dense_overlap, 3),
            "writes held ms": migrated.held.ToMilliseconds(),
            "failed calls": len(self.failures),
            "degraded answers": self.degraded,
        }
        for what, calls in (("search", self.searches), ("write", self.writes)):
            before = [ms for at, ms in calls if at < began]
            during = [ms for at, ms in calls if began <= at < ended]
            for when, times in (("before", before), ("during", during)):
                row[f"{what}es {when}" if what == "search" else f"writes {when}"] = len(times)
                row[f"{what} p50 ms {when}"] = round(float(np.percentile(times, 50)), 1)
                row[f"{what} p99 ms {when}"] = round(float(np.percentile(times, 99)), 1)
        return row

    async def _check(self) -> dict[str, float]:
        """What is missing, or is not as it was acknowledged, or came back."""
        wrong, back = 0, 0
        for doc_ids in _chunks(list(self.held)):
            found = await self._get(doc_ids)
            wrong += sum(found.get(doc_id) != self.held[doc_id] for doc_id in doc_ids)
        for doc_ids in _chunks(sorted(self.gone)):
            back += len(await self._get(doc_ids))
        request = document_pb2.GetStatsRequest(collection=self.name)
        count = (await self._documents.GetStats(request)).document_count
        for failure in sorted(set(self.failures))[:5]:
            print(failure)
        return {
            "missing or other": wrong,
            "deleted and there": back,
            "too many": count - len(self.held),
        }

    async def _get(self, doc_ids: list[str]) -> dict[str, str]:
        request = document_pb2.GetDocumentsRequest(collection=self.name, doc_ids=doc_ids)
        answer = await self._documents.GetDocuments(request)
        return {each.doc_id: each.fields["text"] for each in answer.documents}


def _chunks(doc_ids: list[str]) -> list[list[str]]:
    starts = range(0, len(doc_ids), BATCH_DOCUMENTS)
    return [doc_ids[start : start + BATCH_DOCUMENTS] for start in starts]


if __name__ == "__main__":
    main()
