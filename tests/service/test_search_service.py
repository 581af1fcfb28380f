"""Search and SearchStream over real gRPC: stages, filters, fields, bad input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving import CONFIG, Served, refused, serving, with_server

from sidecar.v1.collection_pb2 import AttributeField, CreateCollectionRequest, Schema, TextField
from sidecar.v1.document_pb2 import ACKNOWLEDGEMENT_SEARCHABLE, Document, UpsertDocumentsRequest
from sidecar.v1.filter_pb2 import (
    ATTRIBUTE_TYPE_INTEGER,
    AttributeValue,
    EqualsFilter,
    Filter,
    FilterList,
    InFilter,
    RangeFilter,
    StringList,
)
from sidecar.v1.ranking_pb2 import (
    STAGE_DENSE,
    STAGE_FIRST_RERANK,
    STAGE_FUSED,
    STAGE_INPUT,
    STAGE_LEXICAL,
    STAGE_SECOND_RERANK,
    RankingOptions,
)
from sidecar.v1.search_pb2 import SearchRequest, SearchStreamRequest

TEXTS = {"a": "green tea from japan", "b": "green paint", "c": "black tea", "d": "red paint"}


def number(value: int) -> AttributeValue:
    return AttributeValue(integer_value=value)


async def fill(served: Served) -> None:
    schema = Schema(
        text_fields=[TextField(name="title"), TextField(name="text")],
        attributes=[AttributeField(name="year", type=ATTRIBUTE_TYPE_INTEGER)],
    )
    await served.collections.CreateCollection(CreateCollectionRequest(name="docs", schema=schema))
    documents = [
        Document(doc_id=doc_id, fields={"text": text}, attributes={"year": number(year)})
        for year, (doc_id, text) in enumerate(TEXTS.items(), start=2000)
    ]
    request = UpsertDocumentsRequest(
        collection="docs", documents=documents, acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE
    )
    assert [one async for one in served.documents.UpsertDocuments(iter([request]))]


def search(query: str = "green tea", **fields: Any) -> SearchRequest:
    return SearchRequest(**({"collection": "docs", "query": query} | fields))


async def test_the_stream_shows_each_stage_and_ends_with_the_answer(tmp_path: Path) -> None:
    options = RankingOptions(explain=True)
    async with serving(tmp_path) as served:
        await fill(served)
        call = served.search.SearchStream(SearchStreamRequest(search=search(options=options)))
        rankings = [reply.ranking async for reply in call]
        reply = await served.search.Search(search(options=options))
    assert [ranking.stage for ranking in rankings] == [
        STAGE_FUSED,
        STAGE_FIRST_RERANK,
        STAGE_SECOND_RERANK,
    ]
    assert [ranking.revision for ranking in rankings] == [1, 2, 3]
    assert rankings[-1].final
    assert rankings[-1].hits == reply.ranking.hits
    best = reply.ranking.hits[0]
    assert best.doc_id == "a"
    assert [score.stage for score in best.explanation] == [
        STAGE_LEXICAL,
        STAGE_DENSE,
        STAGE_FUSED,
        STAGE_FIRST_RERANK,
        STAGE_SECOND_RERANK,
    ]
    assert {report.stage for report in reply.ranking.stages} == set(range(2, 7))


async def test_only_the_asked_fields_come_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await fill(served)
        plain = await served.search.Search(search())
        with_text = await served.search.Search(search(return_fields=["text", "title"]))
    assert not plain.ranking.hits[0].fields
    assert not plain.ranking.hits[0].explanation
    assert with_text.ranking.hits[0].fields == {"text": TEXTS["a"], "title": ""}


async def test_an_answer_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, with_server(CONFIG, max_message_bytes=3000)) as served:
        await fill(served)
        for doc_id in ("long", "longer"):
            long = Document(doc_id=doc_id, fields={"text": "green tea " * 200})
            request = UpsertDocumentsRequest(
                collection="docs", documents=[long], acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE
            )
            assert [one async for one in served.documents.UpsertDocuments(iter([request]))]
        assert (await served.search.Search(search())).ranking.hits
        with refused() as refusal:
            await served.search.Search(search(return_fields=["text"]))
    assert (refusal.field, refusal.reason) == ("return_fields", "TOO_LARGE")


async def test_a_filter_cuts_both_legs(tmp_path: Path) -> None:
    year = Filter(range=RangeFilter(attribute="year", more_than=number(2000)))
    async with serving(tmp_path) as served:
        await fill(served)
        reply = await served.search.Search(search(filter=year))
    assert {hit.doc_id for hit in reply.ranking.hits} == {"b", "c", "d"}


async def test_a_vector_takes_the_place_of_the_encoded_query(tmp_path: Path) -> None:
    vector = [0.0] * 64
    vector[1] = 1e30
    options = RankingOptions(explain=True, last_stage=STAGE_FUSED)
    async with serving(tmp_path) as served:
        await fill(served)
        reply = await served.search.Search(search(query_vector=vector, options=options))
        plain = await served.search.Search(search(options=options))
    dense = {s.score for h in reply.ranking.hits for s in h.explanation if s.stage == STAGE_DENSE}
    assert all(math.isfinite(score) and abs(score) <= 1.01 for score in dense)
    assert reply.ranking.hits != plain.ranking.hits


def nested(levels: int) -> Filter:
    inner = Filter(equals=EqualsFilter(attribute="year", value=number(1)))
    for _ in range(levels - 1):
        inner = Filter(all_of=FilterList(filters=[inner]))
    return inner


def any_of(*filters: Filter) -> Filter:
    return Filter(any_of=FilterList(filters=filters))


YEAR = EqualsFilter(attribute="year", value=number(2000))
STRINGS = AttributeValue(string_list_value=StringList(values=["a"]))
BAD_SEARCHES: dict[str, tuple[dict[str, Any], str]] = {
    "empty query": ({"query": ""}, "query"),
    "white space": ({"query": "\u3000 "}, "query"),
    "10 MB query": ({"query": "x" * 10_000_000}, "query"),
    "no collection": ({"collection": ""}, "collection"),
    "top_k": ({"options": RankingOptions(top_k=0)}, "options.top_k"),
    "last stage": ({"options": RankingOptions(last_stage=STAGE_INPUT)}, "options.last_stage"),
    "return field": ({"return_fields": ["text", "body"]}, "return_fields[1]"),
    "return field twice": ({"return_fields": ["text", "text"]}, "return_fields[1]"),
    "vector of 3": ({"query_vector": [1.0] * 3}, "query_vector"),
    "NaN in vector": ({"query_vector": [1.0] * 63 + [math.nan]}, "query_vector[63]"),
    "zero vector": ({"query_vector": [0.0] * 64}, "query_vector"),
    "empty filter": ({"filter": Filter()}, "filter"),
    "empty list": ({"filter": Filter(all_of=FilterList())}, "filter.all_of"),
    "unknown attribute": (
        {"filter": any_of(Filter(equals=YEAR), Filter(equals=EqualsFilter(attribute="yaer")))},
        "filter.any_of[1].equals.value",
    ),
    "misspelt attribute": (
        {"filter": any_of(Filter(equals=EqualsFilter(attribute="yaer", value=number(1))))},
        "filter.any_of[0].equals.attribute",
    ),
    "operand of another type": (
        {
            "filter": Filter(
                equals=EqualsFilter(attribute="year", value=AttributeValue(string_value="1"))
            )
        },
        "filter.equals.value",
    ),
    "operand is a list": (
        {"filter": Filter(one_of=InFilter(attribute="year", values=[number(1), STRINGS]))},
        "filter.one_of.values[1]",
    ),
    "no operands": ({"filter": Filter(one_of=InFilter(attribute="year"))}, "filter.one_of.values"),
    "many operands": (
        {"filter": Filter(one_of=InFilter(attribute="year", values=map(number, range(1025))))},
        "filter.one_of.values",
    ),
    "no bound": ({"filter": Filter(range=RangeFilter(attribute="year"))}, "filter.range"),
    "bound without a value": (
        {"filter": Filter(range=RangeFilter(attribute="year", less_than=AttributeValue()))},
        "filter.range.less_than",
    ),
    "17 levels": ({"filter": nested(17)}, "filter" + ".all_of[0]" * 16),
    "257 conditions": (
        {"filter": any_of(*[Filter(equals=YEAR)] * 256)},
        "filter.any_of[255]",
    ),
}


async def test_bad_searches_name_the_field(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await fill(served)
        for what, (changes, field) in BAD_SEARCHES.items():
            with refused() as refusal:
                await served.search.Search(search(**changes))
            found = (refusal.code, refusal.field)
            assert found == (grpc.StatusCode.INVALID_ARGUMENT, field), what
            with refused() as refusal:
                request = SearchStreamRequest(search=search(**changes))
                await served.search.SearchStream(request).read()
            assert refusal.field == f"search.{field}", what


async def test_the_limits_of_filters_are_accepted(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await fill(served)
        for widest in (nested(16), any_of(*[Filter(equals=YEAR)] * 255)):
            await served.search.Search(search(filter=widest))


async def test_an_unknown_collection_is_not_found(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        with refused() as refusal:
            await served.search.Search(search(collection="nowhere"))
    assert refusal.code is grpc.StatusCode.NOT_FOUND
    assert refusal.reason == "COLLECTION_NOT_FOUND"
    assert refusal.metadata == {"collection": "nowhere"}


async def test_a_message_beyond_the_transport_limit_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await served.search.Search(search("x" * 40_000_000))
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
