"""A collection moves to OpenSearch and milvus-lite over gRPC while searches and writes go on."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving import CONFIG, Served, refused, serving

from sidecar.config import BackendConfig
from sidecar.v1 import collection_pb2, document_pb2, ranking_pb2, search_pb2
from sidecar.v1 import maintenance_pb2 as pb2

DOCUMENTS = 300


@pytest.fixture(params=["opensearch", "milvus"])
def backend(request: pytest.FixtureRequest) -> BackendConfig:
    """A running server of each kind."""
    if request.param == "milvus":
        return BackendConfig(kind="milvus", url=request.getfixturevalue("milvus_lite").url)
    return BackendConfig(kind="opensearch", url=request.getfixturevalue("opensearch_url"))


@pytest.fixture
def name() -> str:
    return f"m{uuid.uuid4().hex[:12]}"


async def write(server: Served, name: str, texts: dict[str, str]) -> None:
    documents = [
        document_pb2.Document(doc_id=doc_id, fields={"text": text})
        for doc_id, text in texts.items()
    ]

    async def requests() -> AsyncIterator[document_pb2.UpsertDocumentsRequest]:
        yield document_pb2.UpsertDocumentsRequest(
            collection=name,
            documents=documents,
            acknowledgement=document_pb2.ACKNOWLEDGEMENT_SEARCHABLE,
        )

    answers = [answer async for answer in server.documents.UpsertDocuments(requests())]
    assert sum(answer.document_count for answer in answers) == len(documents)


async def delete(server: Served, name: str, doc_ids: list[str]) -> None:
    request = document_pb2.DeleteDocumentsRequest(collection=name, doc_ids=doc_ids)
    await server.documents.DeleteDocuments(request)


async def search(server: Served, name: str) -> Any:
    options = ranking_pb2.RankingOptions(top_k=50, last_stage=ranking_pb2.STAGE_FUSED)
    request = search_pb2.SearchRequest(collection=name, query="common word7", options=options)
    return (await server.search.Search(request)).ranking


async def stored(server: Served, name: str, doc_ids: list[str]) -> dict[str, str]:
    request = document_pb2.GetDocumentsRequest(collection=name, doc_ids=doc_ids)
    answer = await server.documents.GetDocuments(request)
    return {each.doc_id: each.fields["text"] for each in answer.documents}


async def described(server: Served, name: str) -> Any:
    request = collection_pb2.DescribeCollectionRequest(name=name)
    return (await server.collections.DescribeCollection(request)).collection


async def migrate(server: Served, name: str, **asked: Any) -> Any:
    request = pb2.MigrateCollectionRequest(collection=name, **asked)
    events = [each async for each in server.maintenance.MigrateCollection(request)]
    assert {each.WhichOneof("event") for each in events[:-1]} <= {"progress"}
    return events[-1].migrated


CLUSTER = collection_pb2.Backend(name="cluster")


async def test_moved_under_searches_and_writes(tmp_path: Path, backend: BackendConfig, name: str):
    config = dataclasses.replace(CONFIG, backends={"cluster": backend})
    async with serving(tmp_path, config) as server:
        await server.collections.CreateCollection(collection_pb2.CreateCollectionRequest(name=name))
        held = {f"d{n}": f"common word{n % 40} own{n}" for n in range(DOCUMENTS)}
        await write(server, name, held)
        before = await described(server, name)
        stop, rankings, turns = asyncio.Event(), [], 0

        async def search_on() -> None:
            while not stop.is_set():
                rankings.append(await search(server, name))

        async def write_on() -> None:
            nonlocal turns
            while not stop.is_set():
                turns += 1
                texts = {f"d{n}": f"common turn{turns}" for n in (turns % 50, 1000 + turns)}
                await write(server, name, texts)
                held.update(texts)
                await delete(server, name, [f"d{999 + turns}", f"d{100 + turns % 50}"])
                held.pop(f"d{999 + turns}", None)
                held.pop(f"d{100 + turns % 50}", None)

        under_way = [asyncio.create_task(each()) for each in (search_on, write_on)]
        migrated = await migrate(server, name, backend=CLUSTER)
        seen = turns
        while turns < seen + 3:
            await asyncio.wait(under_way, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            assert not any(task.done() for task in under_way)
        stop.set()
        await asyncio.gather(*under_way)  # none of their calls failed

        assert [r for r in rankings if len(r.hits) != 50 or r.degraded] == []
        after = await described(server, name)
        assert after.backend.name == migrated.backend.name == "cluster"
        assert after.incarnation == migrated.incarnation != before.incarnation
        assert migrated.compared_documents >= DOCUMENTS - 60
        assert min(migrated.lexical_overlap, migrated.dense_overlap) > 0.8
        assert 0 < migrated.held.ToMilliseconds() < 2_000
        assert after.document_count == len(held)
        assert await stored(server, name, sorted(held)) == held
        gone = [f"d{n}" for n in range(1000 + turns) if f"d{n}" not in held][-900:]
        assert await stored(server, name, gone) == {}
    async with serving(tmp_path, config) as server:
        assert (await described(server, name)).incarnation == after.incarnation
        with refused() as refusal:
            await migrate(server, name, backend=CLUSTER)
        assert (refusal.code, refusal.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "MIGRATION",
        )
        await migrate(server, name, action=pb2.MIGRATION_ACTION_FINISH)
        assert await stored(server, name, sorted(held)) == held
        await server.collections.DropCollection(collection_pb2.DropCollectionRequest(name=name))


async def test_a_caller_that_leaves_has_moved_nothing(
    tmp_path: Path, opensearch_url: str, name: str
):
    backend = BackendConfig(kind="opensearch", url=opensearch_url)
    config = dataclasses.replace(CONFIG, backends={"cluster": backend})
    async with serving(tmp_path, config) as server:
        await server.collections.CreateCollection(collection_pb2.CreateCollectionRequest(name=name))
        held = {f"d{n}": f"common word{n % 40}" for n in range(DOCUMENTS)}
        await write(server, name, held)
        slow = pb2.MigrateCollectionRequest(
            collection=name, backend=CLUSTER, documents_per_second=20
        )
        call = server.maintenance.MigrateCollection(slow)
        async for event in call:
            if event.progress.done:
                break
        call.cancel()
        assert not (await described(server, name)).HasField("backend")
        held["d1"] = "common again"
        await write(server, name, {"d1": held["d1"]})
        with refused() as refusal:
            await server.collections.DropCollection(collection_pb2.DropCollectionRequest(name=name))
        assert refusal.reason == "MIGRATION"
    async with serving(tmp_path, config) as server:
        await migrate(server, name, backend=CLUSTER)
        assert await stored(server, name, sorted(held)) == held
        back = await migrate(server, name, action=pb2.MIGRATION_ACTION_BACK)
        assert not back.HasField("backend")
        assert not back.discarded
        assert await stored(server, name, sorted(held)) == held
        await server.collections.DropCollection(collection_pb2.DropCollectionRequest(name=name))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "backend"),
        ({"backend": collection_pb2.Backend(name="clutser")}, "backend.name"),
        ({"backend": CLUSTER, "documents_per_second": -1}, "documents_per_second"),
        ({"backend": CLUSTER, "least_overlap": 1.5}, "least_overlap"),
        ({"action": 9}, "action"),
    ],
)
async def test_what_cannot_be_asked_is_named(tmp_path: Path, name: str, asked, field: str):
    backends = {"cluster": BackendConfig(url="http://127.0.0.1:9")}
    async with serving(tmp_path, dataclasses.replace(CONFIG, backends=backends)) as server:
        await server.collections.CreateCollection(collection_pb2.CreateCollectionRequest(name=name))
        with refused() as refusal:
            await migrate(server, name, **asked)
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        assert refusal.field == field
