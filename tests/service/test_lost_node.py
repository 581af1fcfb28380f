"""One of three nodes of OpenSearch is killed while searches and writes go on over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from pathlib import Path

import grpc
import pytest
from engines import opensearch
from engines.java import MissingError
from kinds import give_up
from serving import CONFIG, Served, serving

from sidecar.config import BackendConfig
from sidecar.v1 import collection_pb2, document_pb2, ranking_pb2, search_pb2

DOCUMENTS = 60
WAIT_SECONDS = 120.0
LEGS = (ranking_pb2.STAGE_LEXICAL, ranking_pb2.STAGE_DENSE)


@pytest.fixture(scope="module")
def cluster():
    """Three nodes."""
    try:
        opensearch.install()
    except MissingError as error:
        give_up(f"OpenSearch cannot be started: {error}")
    with opensearch.running(3) as nodes:
        yield nodes


async def create(server: Served, name: str) -> None:
    """A collection of the backend of the same name, filled."""
    await server.collections.CreateCollection(
        collection_pb2.CreateCollectionRequest(name=name, backend=collection_pb2.Backend(name=name))
    )
    assert await write(server, name, range(DOCUMENTS)) == DOCUMENTS


async def write(server: Served, name: str, numbers) -> int:
    documents = [
        document_pb2.Document(doc_id=f"d{number}", fields={"text": f"common word{number}"})
        for number in numbers
    ]

    async def requests():
        yield document_pb2.UpsertDocumentsRequest(
            collection=name,
            documents=documents,
            acknowledgement=document_pb2.ACKNOWLEDGEMENT_SEARCHABLE,
        )

    return sum(
        [answer.document_count async for answer in server.documents.UpsertDocuments(requests())]
    )


async def search(server: Served, name: str):
    options = ranking_pb2.RankingOptions(top_k=100, last_stage=ranking_pb2.STAGE_FUSED)
    request = search_pb2.SearchRequest(collection=name, query="common", options=options)
    return (await server.search.Search(request)).ranking


async def test_searches_go_on(tmp_path: Path, cluster):
    url = ",".join(node.url for node in cluster)
    backends = {
        "copied": BackendConfig(url=url, shards=3, replicas="1"),
        "single": BackendConfig(url=url, shards=3, replicas="0"),
    }
    manager = cluster[0].call("GET", "/_cat/cluster_manager?format=json")[0]["node"]
    lost = next(node for node in cluster if node.name != manager)
    left = next(node for node in cluster if node is not lost)
    async with serving(tmp_path, dataclasses.replace(CONFIG, backends=backends)) as server:
        await create(server, "copied")
        await create(server, "single")
        await asyncio.to_thread(left.wait, "green", 3)
        assert not (await search(server, "copied")).degraded
        rankings, failures, stop = [], [], asyncio.Event()

        async def search_on() -> None:
            while not stop.is_set():
                try:
                    rankings.append(await search(server, "copied"))
                except grpc.aio.AioRpcError as error:
                    failures.append(error.details())

        searching = [asyncio.create_task(search_on()) for _ in range(4)]
        while len(rankings) < 20:
            await asyncio.sleep(0.01)  # lets the searches run
        await asyncio.to_thread(lost.kill)
        before = len(rankings)
        while len(rankings) < before + 100:
            await asyncio.sleep(0.01)
        written = await write_until_taken(server, "copied")
        stop.set()
        await asyncio.gather(*searching)
        assert failures == []
        assert written == 1
        whole = await search(server, "copied")
        assert not whole.degraded
        assert len(whole.hits) == DOCUMENTS + 1
        assert all(ranking.degraded or len(ranking.hits) >= DOCUMENTS for ranking in rankings)

        partial = await search(server, "single")
        assert partial.degraded
        assert 0 < len(partial.hits) < DOCUMENTS
        for stage in LEGS:
            (report,) = [each for each in partial.stages if each.stage == stage]
            assert report.state == ranking_pb2.STAGE_STATE_PARTIAL
            assert report.reason == ranking_pb2.STAGE_REASON_SHARDS_MISSING
            assert report.answered_share == pytest.approx(2 / 3)
        lost.start()
        await asyncio.to_thread(left.wait, "green", 3)
        again = await search(server, "single")
        assert not again.degraded
        assert len(again.hits) == DOCUMENTS
        for name in backends:
            await server.collections.DropCollection(collection_pb2.DropCollectionRequest(name=name))


async def write_until_taken(server: Served, name: str) -> int:
    """A batch may meet a shard that has no primary for a moment; sent again it is written."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                return await write(server, name, [DOCUMENTS])
