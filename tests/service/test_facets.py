"""Facets over real gRPC against Counter over the documents, and their way beside a search."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from fakes import FakeCrossEncoder
from serving import Served, loader, refused, serving

from sidecar.errors import DeadlineError, UnsupportedError
from sidecar.pipeline.deadline import Deadline
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.service import search as searching
from sidecar.service.calls import Threads
from sidecar.service.facets import with_facets
from sidecar.types import (
    AttributeField,
    AttributeType,
    Facet,
    FacetCount,
    FacetRequest,
    FacetScope,
    Ranking,
    Stage,
)
from sidecar.types import Schema as PlainSchema
from sidecar.v1 import collection_pb2, filter_pb2, search_pb2
from sidecar.v1.document_pb2 import ACKNOWLEDGEMENT_SEARCHABLE, Document, UpsertDocumentsRequest
from sidecar.v1.filter_pb2 import AttributeValue, EqualsFilter, Filter, StringList
from sidecar.v1.ranking_pb2 import RankingOptions
from sidecar.v1.search_pb2 import FacetRange, SearchRequest, SearchStreamRequest

SCHEMA = collection_pb2.Schema(
    text_fields=[collection_pb2.TextField(name="text")],
    attributes=[
        collection_pb2.AttributeField(name="colour", type=filter_pb2.ATTRIBUTE_TYPE_STRING),
        collection_pb2.AttributeField(name="year", type=filter_pb2.ATTRIBUTE_TYPE_INTEGER),
        collection_pb2.AttributeField(name="tags", type=filter_pb2.ATTRIBUTE_TYPE_STRING_LIST),
    ],
)
# (word, colour, year, tags) of documents 0, 1, 2, ...
DOCUMENTS = [
    (
        "tea" if number % 2 else "paint",
        ("red", "green", "blue")[number % 3],
        2000 + number % 5,
        ["new"] * (number % 4 == 0) + ["sold"] * (number % 6 == 0),
    )
    for number in range(40)
]


def string(value: str) -> AttributeValue:
    return AttributeValue(string_value=value)


def number(value: int) -> AttributeValue:
    return AttributeValue(integer_value=value)


async def fill(served: Served) -> None:
    request = collection_pb2.CreateCollectionRequest(name="docs", schema=SCHEMA)
    await served.collections.CreateCollection(request)
    documents = [
        Document(
            doc_id=f"d{position:02}",
            fields={"text": word},
            attributes={
                "colour": string(colour),
                "year": number(year),
                "tags": AttributeValue(string_list_value=StringList(values=tags)),
            },
        )
        for position, (word, colour, year, tags) in enumerate(DOCUMENTS)
    ]
    batch = UpsertDocumentsRequest(
        collection="docs", documents=documents, acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE
    )
    assert [one async for one in served.documents.UpsertDocuments(iter([batch]))]


def search(*facets: search_pb2.FacetRequest, **fields: Any) -> SearchRequest:
    return SearchRequest(**({"collection": "docs", "query": "tea"} | fields), facets=facets)


def strings(facet: search_pb2.Facet) -> list[tuple[str, int]]:
    return [(one.value.string_value, one.count) for one in facet.counts]


async def test_facets_count_all_documents_that_the_filter_lets_pass(tmp_path: Path) -> None:
    red = Filter(equals=EqualsFilter(attribute="colour", value=string("red")))
    asked = [
        search_pb2.FacetRequest(attribute="colour"),
        search_pb2.FacetRequest(
            attribute="year",
            ranges=[
                FacetRange(less_than=number(2002)),
                FacetRange(at_least=number(2001), less_than=number(2003)),
            ],
        ),
        search_pb2.FacetRequest(attribute="tags", limit=1),
    ]
    async with serving(tmp_path) as served:
        await fill(served)
        whole = (await served.search.Search(search(*asked))).facets
        cut = (await served.search.Search(search(*asked, filter=red))).facets
    for facets, documents in (
        (whole, DOCUMENTS),
        (cut, [one for one in DOCUMENTS if one[1] == "red"]),
    ):
        assert [facet.attribute for facet in facets] == ["colour", "year", "tags"]
        colours = Counter(colour for _, colour, _, _ in documents)
        assert strings(facets[0]) == sorted(colours.items(), key=lambda pair: (-pair[1], pair[0]))
        years = [year for _, _, year, _ in documents]
        assert [one.count for one in facets[1].counts] == [
            sum(year < 2002 for year in years),
            sum(2001 <= year < 2003 for year in years),
        ]
        assert facets[1].counts[1].range == asked[1].ranges[1]
        assert facets[1].other_count == sum(year > 2002 for year in years)
        tags = [tags for _, _, _, tags in documents]
        ((best, count),) = Counter(tag for one in tags for tag in one).most_common(1)
        assert strings(facets[2]) == [(best, count)]
        assert facets[2].other_count == sum(bool(one) and best not in one for one in tags)
        assert facets[2].missing_count == sum(not one for one in tags)


async def test_facets_of_the_recalled_count_what_was_fused_even_what_grouping_left_out(
    tmp_path: Path,
) -> None:
    facet = search_pb2.FacetRequest(attribute="colour", scope=search_pb2.FACET_SCOPE_RECALLED)
    grouping = search_pb2.Grouping(attribute="colour")
    options = RankingOptions(top_k=2)
    async with serving(tmp_path) as served:
        await fill(served)
        plain = await served.search.Search(search(facet, options=RankingOptions(top_k=40)))
        grouped = await served.search.Search(search(facet, options=options, grouping=grouping))
    shown = Counter(DOCUMENTS[int(hit.doc_id[1:])][1] for hit in plain.ranking.hits)
    assert dict(strings(plain.facets[0])) == shown
    assert len(grouped.ranking.hits) == 2
    assert sum(count for _, count in strings(grouped.facets[0])) > 3


async def test_a_stream_brings_them_with_its_last_ranking_only(tmp_path: Path) -> None:
    asked = search(
        search_pb2.FacetRequest(attribute="colour", scope=search_pb2.FACET_SCOPE_RECALLED),
        search_pb2.FacetRequest(attribute="colour"),
    )
    async with serving(tmp_path) as served:
        await fill(served)
        stream = served.search.SearchStream(SearchStreamRequest(search=asked))
        frames = [frame async for frame in stream]
        reply = await served.search.Search(asked)
    assert len(frames) > 1
    assert not any(frame.facets for frame in frames[:-1])
    assert frames[-1].facets == reply.facets
    assert len(reply.facets) == 2


@pytest.mark.parametrize(
    ("facet", "field"),
    [
        ({"attribute": "color"}, "facets[1].attribute"),
        ({"attribute": "year", "limit": 0}, "facets[1].limit"),
        ({"attribute": "year", "limit": 5, "ranges": [FacetRange()]}, "facets[1].limit"),
        ({"attribute": "year", "ranges": [FacetRange()]}, "facets[1].ranges[0]"),
        (
            {"attribute": "year", "ranges": [FacetRange(at_least=AttributeValue())]},
            "facets[1].ranges[0].at_least",
        ),
        (
            {"attribute": "year", "ranges": [FacetRange(less_than=string("x"))]},
            "facets[1].ranges[0].less_than",
        ),
        (
            {"attribute": "colour", "ranges": [FacetRange(less_than=string("x"))]},
            "facets[1].ranges",
        ),
        ({"attribute": "year", "scope": 7}, "facets[1].scope"),
    ],
)
async def test_what_is_refused(tmp_path: Path, facet: dict[str, Any], field: str) -> None:
    good = search_pb2.FacetRequest(attribute="colour")
    asked = search(good, search_pb2.FacetRequest(**facet))
    async with serving(tmp_path) as served:
        await fill(served)
        with refused() as refusal:
            await served.search.Search(asked)
        with refused() as in_stream:
            stream = served.search.SearchStream(SearchStreamRequest(search=asked))
            assert [frame async for frame in stream]
        with refused() as many:
            await served.search.Search(search(*[good] * 17))
    assert (refusal.field, in_stream.field) == (field, f"search.{field}")
    assert (many.field, many.reason) == ("facets", "TOO_LARGE")


class Counting:
    """A collection that counts once it is let."""

    schema = PlainSchema(attributes=(AttributeField("colour", AttributeType.STRING),))

    def __init__(self, error: Exception | None = None) -> None:
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.error = error

    def facets(self, requests: Any, filter: Any) -> tuple[Facet, ...]:
        self.begun.set()
        self.gate.wait()
        if self.error:
            raise self.error
        return tuple(Facet(one.attribute, (), 0, 7) for one in requests)

    def attributes(self, doc_ids: Any) -> dict[str, dict[str, str]]:
        return {doc_id: {"colour": doc_id} for doc_id in doc_ids}


ASKED = (
    FacetRequest("colour", scope=FacetScope.RECALLED),
    FacetRequest("colour"),
)


@pytest.fixture
def threads():
    threads = Threads("facets", 1)
    yield threads
    threads.close()


async def rankings(collection: Counting, let_at: int):
    """Three, the last final; counting may end at one of them."""
    for revision in (1, 2, 3):
        if revision == let_at:
            collection.gate.set()
        final = revision == 3
        yield Ranking(revision, Stage.FUSED, final, False, (), (), recalled=("red", "blue"))


async def test_they_are_counted_beside_the_rerankers(threads: Threads) -> None:
    collection = Counting()
    found = with_facets(
        rankings(collection, 3), ASKED, None, collection, threads, Deadline.after(60)
    )
    first = await anext(found)
    assert not first.facets
    await asyncio.to_thread(collection.begun.wait, 60)
    assert collection.begun.is_set()
    rest = [ranking async for ranking in found]
    assert not rest[0].facets
    colours = Facet("colour", (FacetCount("blue", 1), FacetCount("red", 1)), 0, 0)
    assert rest[1].facets == (colours, Facet("colour", (), 0, 7))


async def test_they_are_counted_from_the_recall_on_whenever_the_first_ranking_comes(
    threads: Threads,
) -> None:
    collection, recalled = Counting(), asyncio.get_running_loop().create_future()
    begun = []

    async def late():
        recalled.set_result(("red",))
        begun.append(await asyncio.to_thread(collection.begun.wait, 60))
        collection.gate.set()
        yield Ranking(1, Stage.FIRST_RERANK, True, False, (), (), recalled=("red",))

    until = Deadline.after(60)
    found = with_facets(late(), ASKED, None, collection, threads, until, recalled)
    (last,) = [ranking async for ranking in found]
    assert begun == [True]
    assert last.facets[0] == Facet("colour", (FacetCount("red", 1),), 0, 0)


async def test_a_search_tells_what_it_recalled_before_its_rankings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    async def noted(rankings: Any, *rest: Any):
        recalled = rest[-1]
        async for ranking in rankings:
            told.append(recalled.done() and recalled.result() == ranking.recalled)
            yield ranking

    monkeypatch.setattr(searching, "with_facets", noted)
    async with serving(tmp_path) as served:
        await fill(served)
        found = await served.search.Search(search(search_pb2.FacetRequest(attribute="colour")))
    assert found.ranking.hits
    assert told
    assert all(told)


async def test_those_that_are_not_counted_by_the_deadline_are_an_error(threads: Threads) -> None:
    collection = Counting()
    found = with_facets(
        rankings(collection, 9), ASKED, None, collection, threads, Deadline.after(0)
    )
    with pytest.raises(DeadlineError, match="before the facets were counted"):
        assert [ranking async for ranking in found]
    collection.gate.set()


async def test_what_cannot_be_counted_is_said(threads: Threads) -> None:
    collection = Counting(UnsupportedError("counts the recalled only"))
    found = with_facets(
        rankings(collection, 1), ASKED, None, collection, threads, Deadline.after(60)
    )
    with pytest.raises(UnsupportedError):
        assert [ranking async for ranking in found]


async def test_what_a_backend_cannot_count_is_said_before_anything_is_ranked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_: object) -> None:
        raise UnsupportedError("it does not count")

    monkeypatch.setattr(EmbeddedCollection, "check_can_count", check)
    small = FakeCrossEncoder()
    async with serving(tmp_path, load=loader(small)) as served:
        await fill(served)
        read = len(small.batches)
        with refused() as refusal:
            await served.search.Search(search(search_pb2.FacetRequest(attribute="colour")))
        assert len(small.batches) == read
        part = search_pb2.FacetRequest(attribute="colour", scope=search_pb2.FACET_SCOPE_RECALLED)
        assert (await served.search.Search(search(part))).facets
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED")
