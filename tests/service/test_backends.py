"""Collections that OpenSearch or Milvus keeps, over gRPC, from their creation to their end."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path

import grpc
import pytest
from serving import CONFIG, Served, refused, serving

from sidecar.config import BackendConfig
from sidecar.v1 import collection_pb2, document_pb2, filter_pb2, ranking_pb2, search_pb2

NOWHERE = "http://127.0.0.1:9"


def with_backend(backend: BackendConfig):
    return dataclasses.replace(CONFIG, backends={"cluster": backend})


@pytest.fixture(params=["opensearch", "milvus"])
def backend(request: pytest.FixtureRequest) -> BackendConfig:
    """A running server of each kind."""
    if request.param == "milvus":
        return BackendConfig(kind="milvus", url=request.getfixturevalue("milvus_lite").url)
    return BackendConfig(kind="opensearch", url=request.getfixturevalue("opensearch_url"))


def a_request(name: str, **backend) -> collection_pb2.CreateCollectionRequest:
    schema = collection_pb2.Schema(
        text_fields=[collection_pb2.TextField(name="title"), collection_pb2.TextField(name="text")],
        attributes=[
            collection_pb2.AttributeField(name="year", type=filter_pb2.ATTRIBUTE_TYPE_INTEGER)
        ],
    )
    kept = collection_pb2.Backend(name="cluster", **backend)
    return collection_pb2.CreateCollectionRequest(name=name, schema=schema, backend=kept)


async def write(server: Served, name: str) -> None:
    documents = [
        document_pb2.Document(
            doc_id=f"d{number}",
            fields={"title": f"thing {number}", "text": f"word{number} common"},
            attributes={"year": filter_pb2.AttributeValue(integer_value=2000 + number)},
        )
        for number in range(10)
    ]

    async def requests():
        yield document_pb2.UpsertDocumentsRequest(
            collection=name,
            documents=documents,
            acknowledgement=document_pb2.ACKNOWLEDGEMENT_SEARCHABLE,
        )

    async for answer in server.documents.UpsertDocuments(requests()):
        assert answer.document_count == 10
        assert answer.searchable_sequence >= answer.sequence


@pytest.fixture
def name() -> str:
    return f"s{uuid.uuid4().hex[:12]}"


async def test_a_collection_from_creation_to_its_end(
    tmp_path: Path, backend: BackendConfig, name: str
):
    async with serving(tmp_path, with_backend(backend)) as server:
        created = await server.collections.CreateCollection(a_request(name))
        assert created.collection.backend.name == "cluster"
        mark = "_" if backend.kind == "milvus" else "-"  # which Milvus has none of in names
        assert created.collection.backend.index == f"sidecar{mark}{name}"
        assert created.collection.dimensions == 64
        await write(server, name)

        found = await server.search.Search(
            search_pb2.SearchRequest(
                collection=name,
                query="common word7",
                return_fields=["title"],
                filter=filter_pb2.Filter(
                    range=filter_pb2.RangeFilter(
                        attribute="year", at_least=filter_pb2.AttributeValue(integer_value=2005)
                    )
                ),
            )
        )
        hits = found.ranking.hits
        assert {hit.doc_id for hit in hits} == {f"d{number}" for number in range(5, 10)}
        assert hits[0].doc_id == "d7"
        assert hits[0].fields["title"] == "thing 7"
        assert not found.ranking.degraded
        assert found.ranking.stage == ranking_pb2.STAGE_SECOND_RERANK

        described = await server.collections.DescribeCollection(
            collection_pb2.DescribeCollectionRequest(name=name)
        )
        assert described.collection.document_count == 10
        assert described.collection.incarnation == created.collection.incarnation != ""
        listed = await server.collections.ListCollections(collection_pb2.ListCollectionsRequest())
        assert [each.document_count for each in listed.collections] == [10]
        await server.collections.DropCollection(collection_pb2.DropCollectionRequest(name=name))
        with refused() as refusal:
            await server.collections.DescribeCollection(
                collection_pb2.DescribeCollectionRequest(name=name)
            )
        assert refusal.code is grpc.StatusCode.NOT_FOUND


async def test_what_cannot_be_a_backend_is_named(tmp_path: Path, opensearch_url: str, name: str):
    unknown = a_request(name)
    unknown.backend.name = "clutser"
    mapped = a_request(name, mapping=[collection_pb2.FieldMapping(name="title", path="t")])
    missing = a_request(name, index="no-such-index", read_only=True)
    bad = a_request(name, index="NO,SUCH")
    empty = a_request(name)
    empty.backend.name = ""
    async with serving(tmp_path, with_backend(BackendConfig(url=opensearch_url))) as server:
        for request, field, says in (
            (unknown, "backend.name", "did you mean 'cluster'?"),
            (empty, "backend.name", "is empty"),
            (mapped, "backend.index", "name the index that is mapped"),
            (missing, "backend.index", "does not exist"),
            (bad, "backend.index", "is not the name of one index"),
        ):
            with refused() as refusal:
                await server.collections.CreateCollection(request)
            assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
            assert refusal.field == field
            assert says in refusal.message
        listed = await server.collections.ListCollections(collection_pb2.ListCollectionsRequest())
        assert len(listed.collections) == 0


async def test_a_backend_that_is_down_is_said_and_the_others_serve(
    tmp_path: Path, backend: BackendConfig, name: str
):
    async with serving(tmp_path, with_backend(backend)) as server:
        await server.collections.CreateCollection(a_request(name))
        await server.collections.CreateCollection(
            collection_pb2.CreateCollectionRequest(name="here")
        )
        await write(server, name)
    async with serving(tmp_path, with_backend(dataclasses.replace(backend, url=NOWHERE))) as server:
        for call, request in (
            (server.search.Search, search_pb2.SearchRequest(collection=name, query="common")),
            (
                server.documents.GetDocuments,
                document_pb2.GetDocumentsRequest(collection=name, doc_ids=["d1"]),
            ),
            (
                server.documents.DeleteDocuments,
                document_pb2.DeleteDocumentsRequest(collection=name, doc_ids=["d1"]),
            ),
            (server.collections.CreateCollection, a_request(name + "x")),
            (
                server.collections.DropCollection,
                collection_pb2.DropCollectionRequest(name=name),
            ),
        ):
            with refused() as refusal:
                await call(request)
            assert "cannot be reached" in refusal.message, request
            assert refusal.code is grpc.StatusCode.UNAVAILABLE, request
            assert refusal.retry_seconds
        listed = await server.collections.ListCollections(collection_pb2.ListCollectionsRequest())
        assert {each.name for each in listed.collections} == {"here", name}
        found = await server.search.Search(search_pb2.SearchRequest(collection="here", query="x"))
        assert len(found.ranking.hits) == 0
    async with serving(tmp_path, with_backend(backend)) as server:
        found = await server.search.Search(
            search_pb2.SearchRequest(collection=name, query="common")
        )
        assert len(found.ranking.hits) == 10
        await server.collections.DropCollection(collection_pb2.DropCollectionRequest(name=name))


async def test_a_backend_that_is_not_configured_any_more(
    tmp_path: Path, backend: BackendConfig, name: str
):
    async with serving(tmp_path, with_backend(backend)) as server:
        await server.collections.CreateCollection(a_request(name))
    async with serving(tmp_path) as server:
        with refused() as refusal:
            await server.search.Search(search_pb2.SearchRequest(collection=name, query="common"))
        assert "configure [backends.cluster]" in refusal.message
    async with serving(tmp_path, with_backend(backend)) as server:
        await server.collections.DropCollection(collection_pb2.DropCollectionRequest(name=name))
