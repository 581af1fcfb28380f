"""Pages over real gRPC: one order whatever is written, each an impression, cursors that end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from fakes import FakeBiEncoder
from feedbacks import in_parquet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import CONFIG, Served, loader, refused, serving

from sidecar.config import Config, FeedbackConfig
from sidecar.pipeline.assignment import Shares
from sidecar.pipeline.search import SearchPipeline
from sidecar.pipeline.serving import Lineup
from sidecar.pipeline.variant import CANARY, ModelSet, Variant
from sidecar.server import Loaded
from sidecar.storage.feedback.roll import everything, roll
from sidecar.v1.collection_pb2 import (
    AttributeField,
    CreateCollectionRequest,
    DropCollectionRequest,
    Schema,
    TextField,
)
from sidecar.v1.document_pb2 import (
    ACKNOWLEDGEMENT_SEARCHABLE,
    DeleteDocumentsRequest,
    Document,
    UpsertDocumentsRequest,
)
from sidecar.v1.feedback_pb2 import EVENT_STATUS_ACCEPTED, Click, Event, LogEventsRequest, View
from sidecar.v1.filter_pb2 import (
    ATTRIBUTE_TYPE_INTEGER,
    AttributeValue,
    EqualsFilter,
    Filter,
)
from sidecar.v1.ranking_pb2 import STAGE_FUSED, STAGE_SECOND_RERANK, RankingOptions
from sidecar.v1.search_pb2 import (
    Boost,
    Diversity,
    Grouping,
    Page,
    SearchRequest,
    SearchResponse,
    SearchStreamRequest,
)

COUNT = 45
WORDS = ["green", "tea", "paint", "black", "japan"]
LOGGED = dataclasses.replace(CONFIG, feedback=FeedbackConfig(secret="0123456789abcdef"))
TWOS = Filter(equals=EqualsFilter(attribute="n", value=AttributeValue(integer_value=2)))


def document(index: int, more: str = "") -> Document:
    words = [WORDS[(index >> bit) % len(WORDS)] for bit in range(4)]
    return Document(
        doc_id=f"d{index:02}",
        fields={"text": " ".join([*words, "tea", more])},
        attributes={"n": AttributeValue(integer_value=index % 6)},
    )


async def create(served: Served, name: str = "docs") -> None:
    schema = Schema(
        text_fields=[TextField(name="text")],
        attributes=[AttributeField(name="n", type=ATTRIBUTE_TYPE_INTEGER)],
    )
    await served.collections.CreateCollection(CreateCollectionRequest(name=name, schema=schema))
    await write(served, [document(index) for index in range(COUNT)], name)


async def write(served: Served, documents: list[Document], name: str = "docs") -> None:
    request = UpsertDocumentsRequest(
        collection=name, documents=documents, acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE
    )
    assert [one async for one in served.documents.UpsertDocuments(iter([request]))]


async def delete(served: Served, doc_ids: list[str], name: str = "docs") -> None:
    request = DeleteDocumentsRequest(collection=name, doc_ids=doc_ids)
    await served.documents.DeleteDocuments(request)


def asked(cursor: str = "", top_k: int = 10, **fields: Any) -> SearchRequest:
    page = Page(cursor=cursor)
    given = {
        "collection": "docs",
        "query": "green tea",
        "options": RankingOptions(top_k=top_k, explain=True),
        "page": page,
    }
    return SearchRequest(**(given | fields))


async def read_all(served: Served, top_k: int = 10, **fields: Any) -> list[SearchResponse]:
    """All pages; between two of them, `between` is awaited."""
    between = fields.pop("between", None)
    replies = [await served.search.Search(asked("", top_k, **fields))]
    while replies[-1].next_cursor:
        if between is not None:
            await between()
        replies.append(await served.search.Search(asked(replies[-1].next_cursor, top_k, **fields)))
    return replies


def without_rank_gaps(replies: list[SearchResponse]) -> list[str]:
    hits = [hit for reply in replies for hit in reply.ranking.hits]
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    return [hit.doc_id for hit in hits]


async def test_pages_are_those_of_the_whole_ranking(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await create(served)
        whole = await served.search.Search(asked(top_k=COUNT))
        replies = await read_all(served, top_k=7)
    assert not whole.next_cursor
    hits = [hit for reply in replies for hit in reply.ranking.hits]
    assert hits == list(whole.ranking.hits)
    assert [len(reply.ranking.hits) for reply in replies] == [7] * 6 + [3]
    for reply in replies:
        assert reply.ranking.final
        assert reply.ranking.stage == STAGE_SECOND_RERANK
        assert {report.stage for report in reply.ranking.stages} == set(range(2, 7))


def test_pages_stay_in_order_while_a_writer_runs(tmp_path: Path) -> None:
    """The first page's ranking is read to its end; what the writer deletes is left out of the pages
    after, what it writes is in none."""
    shapes: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {},
        optional={
            "grouping": st.builds(Grouping, attribute=st.just("n"), per_group=st.integers(1, 9)),
            "diversity": st.builds(Diversity, relevance=st.floats(0, 1)),
            "boosts": st.just([Boost(filter=TWOS, factor=3.0)]),
        },
    )
    names = iter(range(1000))

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(shape=shapes, top_k=st.integers(3, 20), seed=st.randoms(use_true_random=False))
    def holds(shape: dict[str, Any], top_k: int, seed: Any) -> None:
        runner.run(paged_while_written(f"docs-{next(names)}", shape, top_k, seed))

    async def paged_while_written(name: str, shape: Any, top_k: int, seed: Any) -> None:
        await create(served, name)
        fields = {"collection": name, **shape}
        whole = await served.search.Search(asked(top_k=COUNT, **fields))
        wanted = [hit.doc_id for hit in whole.ranking.hits]
        gone_before_page: dict[str, int] = {}
        turned = 0

        async def churn() -> None:
            nonlocal turned
            turned += 1
            gone = seed.sample(range(COUNT), 2)
            for index in gone:
                gone_before_page.setdefault(f"d{index:02}", turned)
            rewritten = [document(seed.randrange(100, 140), "green green"), document(3, "again")]
            await delete(served, [f"d{index:02}" for index in gone], name)
            await write(
                served, [one for one in rewritten if one.doc_id not in gone_before_page], name
            )

        replies = await read_all(served, top_k=top_k, between=churn, **fields)
        shown = without_rank_gaps(replies)
        assert shown == [doc_id for doc_id in wanted if doc_id in shown], (
            "in the order of the first"
        )
        for doc_id in set(wanted) - set(shown):
            assert doc_id in gone_before_page
        for page, reply in enumerate(replies):
            for hit in reply.ranking.hits:
                assert gone_before_page.get(hit.doc_id, 1000) > page

    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        served = runner.run(stack.enter_async_context(serving(tmp_path)))
        holds()
        runner.run(stack.aclose())


async def test_a_page_is_one_final_frame_and_the_last_frame_has_the_cursor(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await create(served)
        call = served.search.SearchStream(SearchStreamRequest(search=asked()))
        frames = [frame async for frame in call]
        assert [bool(frame.next_cursor) for frame in frames] == [False, False, True]
        second = asked(frames[-1].next_cursor)
        call = served.search.SearchStream(SearchStreamRequest(search=second))
        (page,) = [frame async for frame in call]
        reply = await served.search.Search(second)
    assert page.ranking.hits == reply.ranking.hits
    assert page.ranking.revision == 1
    assert page.next_cursor == reply.next_cursor


async def test_what_may_differ_from_page_to_page(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await create(served)
        first = await served.search.Search(asked(top_k=5))
        reply = await served.search.Search(
            asked(first.next_cursor, top_k=20, return_fields=["text"])
        )
        bare = SearchRequest(collection="docs", query="tea", page=Page(), return_fields=["text"])
        cursor = (await served.search.Search(bare)).next_cursor
        again = SearchRequest(
            collection="docs",
            query="tea",
            page=Page(cursor=cursor),
            options=RankingOptions(top_k=3),
        )
        assert len((await served.search.Search(again)).ranking.hits) == 3
    assert [hit.rank for hit in reply.ranking.hits] == list(range(6, 26))
    assert all(hit.fields["text"] for hit in reply.ranking.hits)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "more hits on a page": ({"page": Page(hits=9)}, "page.hits"),
    "no hits": ({"page": Page(hits=0)}, "page.hits"),
    "too many hits": ({"page": Page(hits=1001)}, "page.hits"),
    "no cursor at all": ({"page": Page(cursor="nonsense")}, "page.cursor"),
    "a long cursor": ({"page": Page(cursor="x" * 300)}, "page.cursor"),
}


async def test_what_cannot_be_a_page_names_its_field(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await create(served)
        for what, (fields, field) in BAD.items():
            with refused() as refusal:
                await served.search.Search(asked(**fields))
            assert (refusal.code, refusal.field) == (grpc.StatusCode.INVALID_ARGUMENT, field), what


async def test_a_cursor_is_of_its_own_request(tmp_path: Path) -> None:
    others: dict[str, dict[str, Any]] = {
        "query": {"query": "black tea"},
        "filter": {"filter": TWOS},
        "boosts": {"boosts": [Boost(filter=TWOS, factor=2.0)]},
        "stage": {"options": RankingOptions(top_k=10, explain=True, last_stage=STAGE_FUSED)},
        "collection": {"collection": "more"},
        "group": {"grouping": Grouping(attribute="n")},
    }
    async with serving(tmp_path) as served:
        await create(served)
        await create(served, "more")
        cursor = (await served.search.Search(asked())).next_cursor
        for what, changes in others.items():
            with refused() as refusal:
                await served.search.Search(asked(cursor, **changes))
            assert refusal.field == "page.cursor" or refusal.reason == "CURSOR_EXPIRED", what
        assert (await served.search.Search(asked(cursor))).ranking.hits


async def test_a_collection_made_anew_has_no_cursors(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await create(served)
        cursor = (await served.search.Search(asked())).next_cursor
        await served.collections.DropCollection(DropCollectionRequest(name="docs"))
        await create(served)
        with refused() as refusal:
            await served.search.Search(asked(cursor))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "CURSOR_EXPIRED")


def interleaving(config: Config, data_dir: Path) -> Loaded:
    """Every session gets production's ranking interleaved with that of a canary that only fuses."""
    return with_canary(Shares(interleaved=1.0), config, data_dir)


def with_canary(shares: Shares, config: Config, data_dir: Path) -> Loaded:
    loaded = loader()(config, data_dir)
    serves = loaded.parts.serving
    production = serves.lineup.production
    search = SearchPipeline(FakeBiEncoder(), None, None, config)
    canary = Variant(CANARY, ModelSet(), search, production.rerank)
    serves.flip(Lineup(production, canary, shares))
    return loaded


async def test_interleaved_pages_are_grouped_logged_and_credited(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"grouping": Grouping(attribute="n", per_group=4)}
    async with serving(tmp_path, LOGGED, interleaving) as served:
        await create(served)
        replies = await read_all(served, top_k=10, **fields)
        assert [len(reply.ranking.hits) for reply in replies] == [10, 10, 4]
        second = replies[1].ranking
        events = [
            Event(
                event_id=event_id,
                ranking_token=second.ranking_token,
                **action,  # type: ignore[arg-type]
            )
            for event_id, action in {
                "click": {"doc_id": second.hits[3].doc_id, "click": Click()},
                "view": {"view": View(last_rank=10)},
                "not shown": {"doc_id": replies[0].ranking.hits[0].doc_id, "click": Click()},
            }.items()
        ]
        results = (await served.feedback.LogEvents(LogEventsRequest(events=events))).results
    assert [one.status == EVENT_STATUS_ACCEPTED for one in results] == [True, True, False]
    shown = without_rank_gaps(replies)
    assert set(Counter(int(doc_id[1:]) % 6 for doc_id in shown).values()) == {4}
    roll(tmp_path / "feedback", time.time(), everything)
    impressions = in_parquet(tmp_path / "feedback", "impressions")
    assert len(impressions) == 3
    logged = sorted(
        (hit["rank"], hit["doc_id"], hit["team"]) for one in impressions for hit in one["hits"]
    )
    assert [(rank, doc_id) for rank, doc_id, _ in logged] == list(enumerate(shown, start=1))
    assert {team for _, _, team in logged} == {"production", "canary"}
    assert all(one["interleaved"] and one["final"] for one in impressions)
    assert len({one.ranking.ranking_token for one in replies}) == 3


async def test_pages_of_a_canary_are_the_canarys(tmp_path: Path) -> None:
    load = functools.partial(with_canary, Shares(canary=1.0))
    async with serving(tmp_path, load=load) as served:
        await create(served)
        replies = await read_all(served, top_k=20)
    assert [reply.ranking.variant for reply in replies] == ["canary"] * 3
    assert {reply.ranking.stage for reply in replies} == {STAGE_FUSED}
    without_rank_gaps(replies)


async def test_a_swap_is_told_with_the_page_that_has_it(tmp_path: Path) -> None:
    config = dataclasses.replace(
        LOGGED, feedback=dataclasses.replace(LOGGED.feedback, exploration_share=1.0)
    )

    def exploring(given: Config, data_dir: Path) -> Loaded:
        loaded = loader()(given, data_dir)
        loaded.parts.serving._exploration_share = 1.0
        return loaded

    async with serving(tmp_path, config, exploring) as served:
        await create(served)
        replies = await read_all(served, top_k=10)
    without_rank_gaps(replies)
    assert [reply.ranking.HasField("swapped_rank") for reply in replies] == [True] + [False] * 4
    roll(tmp_path / "feedback", time.time(), everything)
    for impression in in_parquet(tmp_path / "feedback", "impressions"):
        first = impression["hits"][0]["rank"] == 1
        assert impression["exploration_share"] == (1.0 if first else 0.0)
        assert (impression["swapped_rank"] is not None) == first


@pytest.mark.parametrize("kept", [True, False])
async def test_after_a_restart_a_cursor_is_expired_where_the_secret_is_kept(
    tmp_path: Path, kept: bool
) -> None:
    def load(config: Config, data_dir: Path) -> Loaded:
        loaded = loader()(config, data_dir)
        if kept:
            pages = type(loaded.parts.pages)(config.pages, b"as before")
            loaded = dataclasses.replace(
                loaded, parts=dataclasses.replace(loaded.parts, pages=pages)
            )
        return loaded

    async with serving(tmp_path, load=load) as served:
        await create(served)
        cursor = (await served.search.Search(asked())).next_cursor
    async with serving(tmp_path, load=load) as served:
        with refused() as refusal:
            await served.search.Search(asked(cursor))
    if kept:
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "CURSOR_EXPIRED")
    else:
        assert refusal.field == "page.cursor"
