"""The law of search.proto and rerank.proto as a property: the last frame of a stream, and the final
ranking of a session, is the unary answer; measured times, what came from the cache and `revision`
aside.

Words are few, so that ties, empty texts, unmatched queries and pairs without a score all happen.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeCrossEncoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Served, loader, serving

from sidecar.v1.collection_pb2 import AttributeField, CreateCollectionRequest, Schema, TextField
from sidecar.v1.document_pb2 import ACKNOWLEDGEMENT_SEARCHABLE, Document, UpsertDocumentsRequest
from sidecar.v1.filter_pb2 import (
    ATTRIBUTE_TYPE_INTEGER,
    AttributeValue,
    EqualsFilter,
    Filter,
    FilterList,
    RangeFilter,
)
from sidecar.v1.ranking_pb2 import Ranking, RankingOptions
from sidecar.v1.rerank_pb2 import (
    Candidate,
    RerankRequest,
    RerankSessionRequest,
    RerankStreamRequest,
    SessionCandidates,
    SessionEnd,
    SessionStart,
)
from sidecar.v1.search_pb2 import (
    Boost,
    Decay,
    Diversity,
    Grouping,
    Highlighting,
    Page,
    SearchRequest,
    SearchStreamRequest,
)

WORDS = ["green", "black", "tea", "paint", "how", "bad", "茶", "the"]
EXAMPLES = settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
texts = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
queries = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
maybe = st.none()


def options(first_last_stage: int) -> st.SearchStrategy[RankingOptions]:
    depths = maybe | st.integers(0, 12)
    return st.builds(
        RankingOptions,
        top_k=maybe | st.integers(1, 12),
        last_stage=st.just(0) | st.integers(first_last_stage, 6).filter(lambda s: s not in (2, 3)),
        first_rerank_depth=depths,
        second_rerank_depth=depths,
        explain=st.booleans(),
        language=maybe | st.sampled_from(["en", "zh"]),
    )


def attribute(value: int) -> AttributeValue:
    return AttributeValue(integer_value=value)


leaves = st.builds(
    lambda value: Filter(equals=EqualsFilter(attribute="n", value=attribute(value))),
    st.integers(0, 3),
) | st.builds(
    lambda value: Filter(range=RangeFilter(attribute="n", at_least=attribute(value))),
    st.integers(0, 3),
)
filters = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda name, inner: Filter(**{name: FilterList(filters=inner)}),
        st.sampled_from(["all_of", "any_of", "none_of"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=4,
)
boosts = st.lists(
    st.builds(Boost, filter=leaves, factor=st.sampled_from([0.25, 1.0, 4.0])), max_size=3
)
decays = st.builds(
    Decay,
    attribute=st.just("n"),
    origin=st.integers(0, 3).map(attribute),
    half_life=st.sampled_from([0.5, 2.0]),
    floor=st.sampled_from([0.0, 0.5]),
    missing=maybe | st.sampled_from([0.0, 0.5]),
)
groupings = st.builds(Grouping, attribute=st.just("n"), per_group=maybe | st.integers(1, 3))
diversities = st.builds(
    Diversity, relevance=maybe | st.floats(0, 1), window=maybe | st.integers(2, 9)
)
pages = st.builds(Page, hits=maybe | st.integers(12, 15))
highlightings = st.builds(
    Highlighting, fields=st.sampled_from([["text"], ["text", "title"]]), fragments=st.integers(1, 3)
)
searches = st.builds(
    SearchRequest,
    collection=st.just("docs"),
    query=queries,
    filter=maybe | filters,
    options=maybe | options(4),
    return_fields=st.sampled_from([[], ["text"], ["text", "title"]]),
    boosts=boosts,
    decay=maybe | decays,
    grouping=maybe | groupings,
    diversity=maybe | diversities,
    page=maybe | pages,
    field_weights=st.dictionaries(st.sampled_from(["text", "title"]), st.floats(0.5, 9.0)),
    highlighting=maybe | highlightings,
)
documents = st.lists(st.tuples(texts, texts, maybe | st.integers(0, 3)), max_size=20)


@st.composite
def reranks(draw: st.DrawFn) -> RerankRequest:
    scored = draw(st.booleans())
    passages = draw(st.lists(st.tuples(texts, texts), min_size=1, max_size=20))
    scores = st.floats(-2, 2, width=16)
    candidates = [
        Candidate(doc_id=f"d{i}", title=title, text=text, score=draw(scores) if scored else None)
        for i, (title, text) in enumerate(passages)
    ]
    return RerankRequest(
        query=draw(queries),
        candidates=candidates,
        options=draw(maybe | options(1)),
        lexical_signal=draw(st.booleans()),
    )


def timeless(ranking: Ranking) -> Ranking:
    """A copy without what the law sets aside."""
    copy = Ranking()
    copy.CopyFrom(ranking)
    copy.revision = 0
    for report in copy.stages:
        report.elapsed_milliseconds = report.queue_milliseconds = 0.0
        report.candidates_cached = 0
    return copy


def check_stream(rankings: list[Ranking], answer: Ranking) -> None:
    assert [ranking.revision for ranking in rankings] == list(range(1, len(rankings) + 1))
    assert [ranking.final for ranking in rankings] == [False] * (len(rankings) - 1) + [True]
    stages = [ranking.stage for ranking in rankings]
    assert stages == sorted(stages)
    assert timeless(rankings[-1]) == timeless(answer)


def check_ranking(ranking: Ranking, most: int, in_order: bool = True) -> None:
    assert [hit.rank for hit in ranking.hits] == list(range(1, len(ranking.hits) + 1))
    assert len({hit.doc_id for hit in ranking.hits}) == len(ranking.hits) <= most
    stages = [hit.stage for hit in ranking.hits]
    if in_order:
        assert stages == sorted(stages, reverse=True), "scores of different stages are not mixed"


def check_groups(rankings: list[Ranking], request: SearchRequest) -> None:
    if request.HasField("grouping"):
        most = request.grouping.per_group or 1
        for ranking in rankings:
            groups = [hit.group.integer_value for hit in ranking.hits if hit.HasField("group")]
            assert all(groups.count(group) <= most for group in groups)


class Runner:
    """A sidecar on an event loop that lives as long as the test: hypothesis itself is not async."""

    def __init__(self, loop: asyncio.AbstractEventLoop, served: Served) -> None:
        self._loop = loop
        self.served = served
        self.collections = 0

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(coroutine)


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    load = loader(FakeCrossEncoder(nan_words=["bad"]))
    with asyncio.Runner() as loop:
        stack = contextlib.AsyncExitStack()
        served = loop.run(stack.enter_async_context(serving(tmp_path, load=load)))
        yield Runner(loop.get_loop(), served)
        loop.run(stack.aclose())


async def search_all_ways(served: Served, request: SearchRequest) -> tuple[list[Ranking], Ranking]:
    call = served.search.SearchStream(SearchStreamRequest(search=request))
    rankings = [reply.ranking async for reply in call]
    return rankings, (await served.search.Search(request)).ranking


async def fill(served: Served, name: str, rows: list[tuple[str, str, int | None]]) -> None:
    schema = Schema(
        text_fields=[TextField(name="title"), TextField(name="text")],
        attributes=[AttributeField(name="n", type=ATTRIBUTE_TYPE_INTEGER)],
    )
    await served.collections.CreateCollection(CreateCollectionRequest(name=name, schema=schema))
    batch = [
        Document(
            doc_id=f"d{index}",
            fields={"title": title, "text": text},
            attributes={} if n is None else {"n": attribute(n)},
        )
        for index, (title, text, n) in enumerate(rows)
        if (title + text).strip()
    ]
    if batch:
        request = UpsertDocumentsRequest(
            collection=name, documents=batch, acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE
        )
        assert [one async for one in served.documents.UpsertDocuments(iter([request]))]


def test_the_last_frame_of_a_search_is_the_answer(runner: Runner) -> None:
    @EXAMPLES
    @given(rows=documents, requests=st.lists(searches, min_size=1, max_size=4))
    def holds(rows: list[tuple[str, str, int | None]], requests: list[SearchRequest]) -> None:
        runner.collections += 1
        name = f"docs-{runner.collections}"
        runner.run(fill(runner.served, name, rows))
        for request in requests:
            request.collection = name
            rankings, answer = runner.run(search_all_ways(runner.served, request))
            check_stream(rankings, answer)
            moved = request.HasField("diversity")
            check_ranking(answer, request.options.top_k or 10, in_order=not moved)
            check_groups(rankings, request)

    holds()


async def session_final(served: Served, request: RerankRequest, chunk: int) -> list[Ranking]:
    call = served.rerank.RerankSession()
    start = SessionStart(query=request.query, lexical_signal=request.lexical_signal)
    if request.HasField("options"):
        start.options.CopyFrom(request.options)
    await call.write(RerankSessionRequest(request_id="r", start=start))
    for first in range(0, len(request.candidates), chunk):
        candidates = SessionCandidates(candidates=request.candidates[first : first + chunk])
        await call.write(RerankSessionRequest(request_id="r", candidates=candidates))
    await call.write(RerankSessionRequest(request_id="r", end=SessionEnd()))
    await call.done_writing()
    return [frame.ranking async for frame in call if frame.HasField("ranking")]


async def rerank_all_ways(
    served: Served, request: RerankRequest, chunk: int
) -> tuple[list[Ranking], Ranking, Ranking]:
    call = served.rerank.RerankStream(RerankStreamRequest(rerank=request))
    rankings = [reply.ranking async for reply in call]
    in_session = await session_final(served, request, chunk)
    return rankings, in_session[-1], (await served.rerank.Rerank(request)).ranking


def test_the_last_frame_of_a_rerank_is_the_answer(runner: Runner) -> None:
    @EXAMPLES
    @given(request=reranks(), chunk=st.integers(1, 21))
    def holds(request: RerankRequest, chunk: int) -> None:
        rankings, in_session, answer = runner.run(rerank_all_ways(runner.served, request, chunk))
        check_stream(rankings, answer)
        assert in_session.final
        assert timeless(in_session) == timeless(answer)
        check_ranking(answer, request.options.top_k or 10)

    holds()
