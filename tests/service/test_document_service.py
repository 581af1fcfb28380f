"""DocumentService and CollectionService over real gRPC: acknowledgements, bad batches, limits."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from serving import CONFIG, Refusal, Served, loader, refused, serving, to_refusal, with_server

from sidecar.v1 import filter_pb2
from sidecar.v1.collection_pb2 import (
    ANALYZER_CHINESE,
    ANALYZER_ENGLISH,
    AttributeField,
    CreateCollectionRequest,
    DescribeCollectionRequest,
    DropCollectionRequest,
    ListCollectionsRequest,
    Schema,
    TextField,
)
from sidecar.v1.document_pb2 import (
    ACKNOWLEDGEMENT_SEARCHABLE,
    DeleteDocumentsRequest,
    Document,
    GetDocumentsRequest,
    GetStatsRequest,
    UpsertDocumentsRequest,
)
from sidecar.v1.filter_pb2 import AttributeValue, StringList
from sidecar.v1.search_pb2 import SearchRequest

DIMENSIONS = 64
SCHEMA = Schema(
    text_fields=[TextField(name="title"), TextField(name="text")],
    attributes=[
        AttributeField(name=kind.lower(), type=getattr(filter_pb2, f"ATTRIBUTE_TYPE_{kind}"))
        for kind in ("STRING", "INTEGER", "DOUBLE", "BOOLEAN", "TIMESTAMP", "STRING_LIST")
    ],
)


def document(doc_id: str, text: str = "some text", **fields: Any) -> Document:
    return Document(doc_id=doc_id, fields={"text": text}, **fields)


def batch(*documents: Document, **fields: Any) -> UpsertDocumentsRequest:
    return UpsertDocumentsRequest(collection="docs", documents=documents, **fields)


async def create(served: Served, name: str = "docs") -> None:
    request = CreateCollectionRequest(name=name, schema=SCHEMA)
    await served.collections.CreateCollection(request)


async def upsert(
    served: Served, batches: Iterable[UpsertDocumentsRequest]
) -> tuple[list[Any], Any]:
    """The acknowledgements of a stream, and the refusal that it ended with, if any."""
    acknowledgements = []
    call = served.documents.UpsertDocuments(iter(batches))
    try:
        async for acknowledgement in call:
            acknowledgements.append(acknowledgement)
    except grpc.aio.AioRpcError as error:
        return acknowledgements, to_refusal(error)
    return acknowledgements, None


async def stored(served: Served, *doc_ids: str, **fields: Any) -> Any:
    request = GetDocumentsRequest(collection="docs", doc_ids=doc_ids, **fields)
    return await served.documents.GetDocuments(request)


async def test_batches_are_acknowledged_in_order(tmp_path: Path) -> None:
    batches = [
        batch(document("a"), document("b"), batch_id="first"),
        UpsertDocumentsRequest(documents=[document("c")], batch_id="second"),
        batch(document("a", "new text"), acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE),
    ]
    async with serving(tmp_path) as served:
        await create(served)
        acknowledgements, refusal = await upsert(served, batches)
        reply = await stored(served, "c", "a", "nowhere")
        stats = await served.documents.GetStats(GetStatsRequest(collection="docs"))
    assert refusal is None
    assert [one.batch_id for one in acknowledgements] == ["first", "second", ""]
    assert [one.document_count for one in acknowledgements] == [2, 1, 1]
    sequences = [one.sequence for one in acknowledgements]
    assert sequences == sorted(sequences)
    assert all(one.durable_sequence >= one.sequence for one in acknowledgements)
    assert acknowledgements[2].searchable_sequence >= acknowledgements[2].sequence
    assert [one.doc_id for one in reply.documents] == ["c", "a"]
    assert reply.documents[1].fields == {"text": "new text"}
    assert list(reply.missing_doc_ids) == ["nowhere"]
    assert (stats.document_count, stats.lexical_count, stats.dense_count) == (3, 3, 3)
    assert stats.disk_bytes > 0
    assert (stats.dense_form, stats.dense_building) == ("fp16", False)


async def test_what_is_searchable_is_found(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await create(served)
        await upsert(
            served, [batch(document("a", "platypus"), acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE)]
        )
        reply = await served.search.Search(SearchRequest(collection="docs", query="platypus"))
        assert [hit.doc_id for hit in reply.ranking.hits] == ["a"]
        await served.documents.DeleteDocuments(
            DeleteDocumentsRequest(collection="docs", doc_ids=["a", "nowhere"])
        )
        reply = await served.search.Search(SearchRequest(collection="docs", query="platypus"))
        assert not reply.ranking.hits


async def test_every_type_of_attribute_comes_back_as_sent(tmp_path: Path) -> None:
    attributes = {
        "string": AttributeValue(string_value="红茶"),
        "integer": AttributeValue(integer_value=-(2**63)),
        "double": AttributeValue(double_value=0.1),
        "boolean": AttributeValue(boolean_value=False),
        "timestamp": AttributeValue(timestamp_value=Timestamp(seconds=-5, nanos=123_456_000)),
        "string_list": AttributeValue(string_list_value=StringList(values=["a", "b"])),
    }
    vector = [0.0] * DIMENSIONS
    vector[3], vector[7] = 3.0, 4.0
    sent = Document(doc_id="a", fields={"title": "t"}, attributes=attributes, vector=vector)
    async with serving(tmp_path) as served:
        await create(served)
        _, refusal = await upsert(served, [batch(sent)])
        assert refusal is None
        reply = await stored(served, "a", include_vectors=True)
        plain = await stored(served, "a")
    (found,) = reply.documents
    assert dict(found.attributes) == attributes
    assert (found.vector[3], found.vector[7]) == pytest.approx((0.6, 0.8))
    assert not plain.documents[0].vector


def _vector(**values: float) -> list[float]:
    vector = [1.0] * DIMENSIONS
    for position, value in values.items():
        vector[int(position[1:])] = value
    return vector


BAD_BATCHES = {
    "empty": (batch(), "documents", "INVALID_FIELD"),
    "many": (batch(*(document(str(i)) for i in range(1001))), "documents", "TOO_LARGE"),
    "no id": (batch(document("")), "documents[0].doc_id", "INVALID_FIELD"),
    "same id twice": (
        batch(document("x"), document("y"), document("x")),
        "documents[2].doc_id",
        "INVALID_FIELD",
    ),
    "NaN": (
        batch(document("x"), document("y", vector=_vector(_2=math.nan))),
        "documents[1].vector[2]",
        "INVALID_FIELD",
    ),
    "infinite": (
        batch(document("x", vector=_vector(_0=math.inf))),
        "documents[0].vector[0]",
        "INVALID_FIELD",
    ),
    "all zero": (
        batch(document("x", vector=[0.0] * DIMENSIONS)),
        "documents[0].vector",
        "INVALID_FIELD",
    ),
    "short vector": (batch(document("x", vector=[1.0])), "documents[0].vector", "INVALID_FIELD"),
    "no text": (
        batch(Document(doc_id="x", fields={"text": " "})),
        "documents[0].fields",
        "INVALID_FIELD",
    ),
    "10 MB text": (
        batch(document("x"), document("y", "x" * 10_000_000)),
        "documents[1].fields",
        "TOO_LARGE",
    ),
    "17 MB in all": (
        batch(*(document(str(i), "x" * 1_000_000) for i in range(17))),
        "documents",
        "TOO_LARGE",
    ),
    "unknown field": (
        batch(Document(doc_id="x", fields={"texte": "t"})),
        'documents[0].fields["texte"]',
        "INVALID_FIELD",
    ),
    "unknown attribute": (
        batch(document("x", attributes={"price": AttributeValue(integer_value=1)})),
        'documents[0].attributes["price"]',
        "INVALID_FIELD",
    ),
    "attribute of another type": (
        batch(document("x", attributes={"integer": AttributeValue(string_value="1")})),
        'documents[0].attributes["integer"]',
        "INVALID_FIELD",
    ),
    "attribute without a value": (
        batch(document("x", attributes={"integer": AttributeValue()})),
        'documents[0].attributes["integer"]',
        "INVALID_FIELD",
    ),
    "time out of range": (
        batch(
            document(
                "x",
                attributes={"timestamp": AttributeValue(timestamp_value=Timestamp(seconds=2**62))},
            )
        ),
        'documents[0].attributes["timestamp"]',
        "INVALID_FIELD",
    ),
    "negative version": (
        batch(document("x"), document("y", expected_version=-1)),
        "documents[1].expected_version",
        "INVALID_FIELD",
    ),
    "long batch id": (batch(document("x"), batch_id="b" * 129), "batch_id", "TOO_LARGE"),
    "acknowledgement": (
        batch(document("x"), acknowledgement=9),
        "acknowledgement",
        "INVALID_FIELD",
    ),
}


async def test_a_bad_batch_ends_the_stream_and_what_was_acknowledged_stands(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as served:
        await create(served)
        for what, (bad, field, reason) in BAD_BATCHES.items():
            batches = [batch(document(what), batch_id="good"), bad, batch(document("never"))]
            acknowledgements, refusal = await upsert(served, batches)
            assert [one.batch_id for one in acknowledgements] == ["good"], what
            assert isinstance(refusal, Refusal)
            assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT, what
            assert (refusal.field, refusal.reason) == (field, reason), what
    async with serving(tmp_path) as served:
        reply = await stored(served, *BAD_BATCHES, "x", "y", "never")
    assert [one.doc_id for one in reply.documents] == list(BAD_BATCHES)


async def test_the_collection_must_be_named_and_exist(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        _, unnamed = await upsert(served, [UpsertDocumentsRequest(documents=[document("a")])])
        _, unknown = await upsert(served, [batch(document("a"))])
        with refused() as long:
            await served.documents.GetStats(GetStatsRequest(collection="x" * 100_000))
    assert (unnamed.code, unnamed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "collection")
    assert unknown.code is grpc.StatusCode.NOT_FOUND
    assert (unknown.reason, unknown.metadata) == ("COLLECTION_NOT_FOUND", {"collection": "docs"})
    assert (long.field, long.reason) == ("collection", "TOO_LARGE")


async def test_lists_of_ids_are_checked(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await create(served)
        for doc_ids, field in (
            ([], "doc_ids"),
            (["a", ""], "doc_ids[1]"),
            (["a"] * 1001, "doc_ids"),
        ):
            for method, request in (
                (served.documents.GetDocuments, GetDocumentsRequest),
                (served.documents.DeleteDocuments, DeleteDocumentsRequest),
            ):
                with refused() as refusal:
                    await method(request(collection="docs", doc_ids=doc_ids))
                assert (refusal.code.name, refusal.field) == ("INVALID_ARGUMENT", field)


async def test_an_answer_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, with_server(CONFIG, max_message_bytes=100_000)) as served:
        await create(served)
        for doc_id in ("a", "b"):
            await upsert(served, [batch(document(doc_id, "x" * 60_000))])
        assert len((await stored(served, "a")).documents) == 1
        with refused() as refusal:
            await stored(served, "a", "b")
    assert (refusal.field, refusal.reason) == ("doc_ids", "TOO_LARGE")


async def test_an_upsert_that_goes_on_ends_when_the_server_drains(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await create(served)
        call = served.documents.UpsertDocuments()
        await call.write(batch(document("a")))
        assert (await call.read()).document_count == 1
        served.stop.set()
        with refused() as refusal:
            await asyncio.wait_for(call.read(), 10)
        await served.task
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert refusal.reason == "DRAINING"
    assert refusal.retry_seconds is not None
    async with serving(tmp_path) as served:
        assert len((await stored(served, "a")).documents) == 1


async def repeat_of(served: Served, *requests: UpsertDocumentsRequest) -> list[Any]:
    acknowledgements, refusal = await upsert(served, requests)
    assert refusal is None
    return acknowledgements


async def test_a_batch_with_a_request_id_is_written_once(tmp_path: Path) -> None:
    first = batch(document("a", "one"), document("b"), request_id="r1", batch_id="1")
    async with serving(tmp_path) as served:
        await create(served)
        (written,) = await repeat_of(served, first)
        await repeat_of(served, batch(document("a", "two")))
        first.batch_id, first.acknowledgement = "2", ACKNOWLEDGEMENT_SEARCHABLE
        (again,) = await repeat_of(served, first)
        reply = await stored(served, "a", "b")
        _, reused = await upsert(served, [batch(document("a", "three"), request_id="r1")])
        _, long = await upsert(served, [batch(document("a"), request_id="r" * 129)])
    async with serving(tmp_path) as served:
        (later,) = await repeat_of(served, first)
    assert (written.sequence, list(written.versions), written.repeated) == (2, [1, 2], False)
    for repeated in (again, later):
        assert (repeated.batch_id, repeated.document_count) == ("2", 2)
        assert (repeated.sequence, list(repeated.versions), repeated.repeated) == (2, [1, 2], True)
        assert repeated.searchable_sequence >= 2
    assert [(one.fields["text"], one.version) for one in reply.documents] == [
        ("two", 3),
        ("some text", 2),
    ]
    assert (reused.code.name, reused.field) == ("INVALID_ARGUMENT", "request_id")
    assert reused.reason == "REQUEST_ID_REUSED"
    assert (long.field, long.reason) == ("request_id", "TOO_LARGE")


async def test_a_conditional_batch_that_conflicts_changes_nothing_and_the_stream_goes_on(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as served:
        await create(served)
        new = batch(document("a", expected_version=0), document("b"), request_id="new")
        first, conflict, then = await repeat_of(
            served,
            new,
            batch(
                document("b", "changed"),
                document("a", "changed", expected_version=0),
                document("c", expected_version=7),
                request_id="r",
            ),
            batch(document("a", "changed", expected_version=1), request_id="r"),
        )
        reply = await stored(served, "a", "b", "c")
    assert list(first.versions) == [1, 2]
    assert [(one.doc_id, one.version) for one in conflict.conflicts] == [("a", 1), ("c", 0)]
    assert (conflict.sequence, conflict.document_count, list(conflict.versions)) == (0, 3, [])
    # What was not written is not kept by its id.
    assert (then.sequence, then.repeated) == (3, False)
    assert [(one.doc_id, one.fields["text"], one.version) for one in reply.documents] == [
        ("a", "changed", 3),
        ("b", "some text", 2),
    ]
    assert list(reply.missing_doc_ids) == ["c"]


async def test_deletions_are_done_once_and_on_condition(tmp_path: Path) -> None:
    def delete(*doc_ids: str, **fields: Any) -> DeleteDocumentsRequest:
        return DeleteDocumentsRequest(collection="docs", doc_ids=doc_ids, **fields)

    async with serving(tmp_path) as served:
        call = served.documents.DeleteDocuments
        await create(served)
        await repeat_of(served, batch(document("a"), document("b"), document("c")))
        conflict = await call(delete("a", "b", "x", expected_versions=[1, 7, 0], request_id="d"))
        assert [(one.doc_id, one.version) for one in conflict.conflicts] == [("b", 2)]
        assert (conflict.deleted_count, conflict.sequence) == (0, 0)
        done = await call(
            delete(
                "a",
                "b",
                "x",
                expected_versions=[1, 0, 0],
                request_id="d",
                acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE,
            )
        )
        assert (done.deleted_count, done.sequence, done.repeated) == (2, 5, False)
        assert done.searchable_sequence >= 5
        await repeat_of(served, batch(document("a")))
        again = await call(delete("a", "b", "x", expected_versions=[1, 0, 0], request_id="d"))
        assert (again.deleted_count, again.sequence, again.repeated) == (2, 5, True)
        assert len((await stored(served, "a")).documents) == 1
        nothing = await call(
            delete("x", request_id="n", acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE)
        )
        assert (nothing.deleted_count, nothing.sequence) == (0, 0)
        assert nothing.searchable_sequence == nothing.durable_sequence == 6
        await repeat_of(served, batch(document("x")))
        assert (await call(delete("x", request_id="n"))).repeated
        assert len((await stored(served, "x")).documents) == 1
        for bad, field in (
            (delete("a", expected_versions=[1, 2]), "expected_versions"),
            (delete("a", expected_versions=[-1]), "expected_versions[0]"),
            (delete("a", acknowledgement=9), "acknowledgement"),
        ):
            with refused() as refusal:
                await call(bad)
            assert (refusal.code.name, refusal.field) == ("INVALID_ARGUMENT", field)


async def test_collections_are_created_described_listed_and_dropped(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await create(served, "second")
        reply = await served.collections.CreateCollection(CreateCollectionRequest(name="first"))
        fields = reply.collection.schema.text_fields
        assert [(one.name, one.analyzer) for one in fields] == [
            ("title", ANALYZER_ENGLISH),
            ("text", ANALYZER_ENGLISH),
        ]
        described = await served.collections.DescribeCollection(
            DescribeCollectionRequest(name="second")
        )
        assert described.collection.schema.attributes == SCHEMA.attributes
        assert described.collection.bi_encoder == "fake-words"
        assert described.collection.dimensions == DIMENSIONS
        listed = await served.collections.ListCollections(ListCollectionsRequest())
        assert [one.name for one in listed.collections] == ["first", "second"]
        await served.collections.DropCollection(DropCollectionRequest(name="first"))
        with refused() as refusal:
            await served.collections.DescribeCollection(DescribeCollectionRequest(name="first"))
        assert refusal.code is grpc.StatusCode.NOT_FOUND
        with refused() as refusal:
            await create(served, "second")
        assert refusal.code is grpc.StatusCode.ALREADY_EXISTS
        assert refusal.reason == "COLLECTION_EXISTS"


async def test_a_chinese_schema_is_kept(tmp_path: Path) -> None:
    schema = Schema(text_fields=[TextField(name="body", analyzer=ANALYZER_CHINESE)])
    async with serving(tmp_path) as served:
        reply = await served.collections.CreateCollection(
            CreateCollectionRequest(name="zh", schema=schema)
        )
    assert reply.collection.schema == schema


BAD_SCHEMAS = {
    "name": (CreateCollectionRequest(name="Docs"), "name"),
    "no fields": (CreateCollectionRequest(name="docs", schema=Schema()), "schema.text_fields"),
    "field name": (
        CreateCollectionRequest(name="docs", schema=Schema(text_fields=[TextField(name="1")])),
        "schema.text_fields[0].name",
    ),
    "analyzer": (
        CreateCollectionRequest(
            name="docs",
            schema=Schema(text_fields=[TextField(name="t", analyzer=9)]),  # type: ignore[arg-type]
        ),
        "schema.text_fields[0].analyzer",
    ),
    "attribute type": (
        CreateCollectionRequest(
            name="docs",
            schema=Schema(text_fields=SCHEMA.text_fields, attributes=[AttributeField(name="a")]),
        ),
        "schema.attributes[0].type",
    ),
}


@pytest.mark.parametrize("what", BAD_SCHEMAS)
async def test_a_bad_schema_names_the_field(tmp_path: Path, what: str) -> None:
    request, field = BAD_SCHEMAS[what]
    async with serving(tmp_path) as served:
        with refused() as refusal:
            await served.collections.CreateCollection(request)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.field == field


async def test_waiting_to_be_searchable_ends_with_the_deadline(tmp_path: Path) -> None:
    never = batch(document("a"), acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE)
    config = with_server(CONFIG, reply_margin_seconds=1.0)
    async with serving(tmp_path, config, _with_stalled_index) as served:
        await create(served)
        with refused() as refusal:
            await served.documents.UpsertDocuments(iter([never]), timeout=1.5).read()
        assert len((await stored(served, "a")).documents) == 1
    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "durable" in refusal.message


def _with_stalled_index(*arguments: Any) -> Any:
    loaded = loader()(*arguments)
    catalog_create = loaded.parts.catalog.create

    def create_stalled(*named: Any) -> Any:
        collection = catalog_create(*named)
        collection.wait_searchable = lambda _, seconds: time.sleep(seconds)  # type: ignore[method-assign]
        return collection

    loaded.parts.catalog.create = create_stalled  # type: ignore[method-assign]
    return loaded


async def test_a_collection_dropped_amid_a_stream_is_not_found(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await create(served)
        call = served.documents.UpsertDocuments()
        await call.write(batch(document("a")))
        await call.read()
        await served.collections.DropCollection(DropCollectionRequest(name="docs"))
        await call.write(batch(document("b"), acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE))
        with refused() as refusal:
            await call.read()
    assert refusal.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("acknowledged", ["by the one that was dropped", "by one that is gone"])
async def test_a_write_is_not_waited_for_in_another_collection_of_the_name(
    tmp_path: Path, acknowledged: str
) -> None:
    """It is dropped and made anew between the write and the wait."""

    def load(*arguments: Any) -> Any:
        loaded = loader()(*arguments)
        catalog = loaded.parts.catalog
        create_one = catalog.create

        def create_dropped(*named: Any) -> Any:
            collection = create_one(*named)
            upsert_one = collection.upsert

            def upsert_and_drop(*documents: Any, **others: Any) -> Any:
                written = upsert_one(*documents, **others)
                catalog.drop(collection.name)
                create_one(*named)
                higher = written.sequence + ("gone" in acknowledged)
                return dataclasses.replace(written, sequence=higher)

            collection.upsert = upsert_and_drop
            collection.wait_searchable = lambda *_: False
            return collection

        catalog.create = create_dropped
        return loaded

    waited = batch(document("a"), acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE)
    async with serving(tmp_path, CONFIG, load) as served:
        await create(served)
        with refused() as refusal:
            await served.documents.UpsertDocuments(iter([waited]), timeout=5).read()
    assert "docs was dropped" in refusal.message
