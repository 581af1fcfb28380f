"""SearchService: check, run the pipeline, reply. One iterator of rankings, two writers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Container, Sequence

from sidecar.config import Config
from sidecar.errors import InvalidFieldError
from sidecar.pipeline.deadline import Deadline
from sidecar.pipeline.feedback import Asked
from sidecar.pipeline.paging import Stored
from sidecar.pipeline.ranking_tokens import TOKEN_CHARACTERS
from sidecar.pipeline.search import OnRecalled
from sidecar.pipeline.streams import last_ranking
from sidecar.recall.collection import Collection, Description
from sidecar.recall.vectors import check_vector
from sidecar.service.calls import Context, Threads, count_final, to_caller
from sidecar.service.deadlines import Deadlines
from sidecar.service.facets import with_facets
from sidecar.service.hit_texts import HitTexts
from sidecar.service.messages.checks import check_reply, under
from sidecar.service.messages.facets import from_facet
from sidecar.service.messages.highlights import Highlights, add_highlights
from sidecar.service.messages.ranking import Fields, from_ranking
from sidecar.service.messages.search import CollectionQuery, check_search, to_search
from sidecar.service.parts import PartsOnceLoaded
from sidecar.service.waiting import SearchableWaits, searched_from
from sidecar.types import FacetScope, Query, Ranking
from sidecar.v1 import search_pb2, search_pb2_grpc


class SearchService(search_pb2_grpc.SearchServiceServicer):
    """Search over the documents of a collection."""

    def __init__(
        self, parts: PartsOnceLoaded, config: Config, deadlines: Deadlines, threads: Threads
    ) -> None:
        self._parts = parts
        self._config = config
        self._deadlines = deadlines
        self._threads = threads
        self._waits = SearchableWaits()

    async def Search(
        self, request: search_pb2.SearchRequest, context: Context
    ) -> search_pb2.SearchResponse:
        """The last ranking."""
        collection, search = await self._open(request, context)
        query = dataclasses.replace(search.query, final_only=True)
        search = dataclasses.replace(search, query=query)
        deadline = self._deadlines.of(context)
        texts = HitTexts(collection, search, deadline)
        async with contextlib.aclosing(self._run(collection, search, deadline)) as rankings:
            ranking = await last_ranking(rankings)
        return await self._reply(ranking, collection, search, texts)

    async def SearchStream(
        self, request: search_pb2.SearchStreamRequest, context: Context
    ) -> AsyncIterator[search_pb2.SearchStreamResponse]:
        """A ranking for each stage."""
        with under("search"):
            collection, search = await self._open(request.search, context)
            deadline = self._deadlines.of(context)
            texts = HitTexts(collection, search, deadline)
            async with contextlib.aclosing(self._run(collection, search, deadline)) as rankings:
                async for ranking in rankings:
                    yield _to_frame(await self._reply(ranking, collection, search, texts))

    async def _open(
        self, request: search_pb2.SearchRequest, context: Context
    ) -> tuple[Collection, CollectionQuery]:
        """The checked search and the collection it goes to."""
        caller = to_caller(context, self._config.admission.caller_metadata_key)
        search = to_search(request, caller)
        collection = self._parts.get().catalog.get(search.collection)
        check_search(search, collection.schema)
        if any(facet.scope is FacetScope.MATCHING for facet in search.facets):
            collection.check_can_count()
        if search.query.vector is None and search.page is None:
            return collection, search
        description = await self._threads.run(collection.describe)
        return collection, _fitted(search, description)

    def _run(
        self, collection: Collection, search: CollectionQuery, deadline: Deadline
    ) -> AsyncGenerator[Ranking]:
        if not search.facets:
            return self._paged(collection, search, deadline)
        recalled: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()

        def on_recalled(doc_ids: Sequence[str]) -> None:
            if not recalled.done():
                recalled.set_result(doc_ids)

        rankings = self._paged(collection, search, deadline, on_recalled)
        facets, filter = search.facets, search.query.filter
        return with_facets(rankings, facets, filter, collection, self._threads, deadline, recalled)

    def _paged(
        self,
        collection: Collection,
        search: CollectionQuery,
        deadline: Deadline,
        on_recalled: OnRecalled | None = None,
    ) -> AsyncGenerator[Ranking]:
        parts, page, top_k = self._parts.get(), search.page, search.query.options.top_k
        if page is None:
            return self._searched(collection, search, deadline, on_recalled)
        if page.cursor:
            return parts.pages.turn(page, top_k, self._stored_in(collection))
        rankings = self._searched(collection, search, deadline, on_recalled)
        return parts.pages.first(rankings, top_k, page)

    def _searched(
        self,
        collection: Collection,
        search: CollectionQuery,
        deadline: Deadline,
        on_recalled: OnRecalled | None,
    ) -> AsyncGenerator[Ranking]:
        rankings = self._parts.get().serving.search(collection, search.query, deadline, on_recalled)
        until = Deadline.after(deadline.remaining() * self._config.recall.deadline_share)
        return searched_from(search.min_sequence, rankings, collection, self._waits, until)

    def _stored_in(self, collection: Collection) -> Stored:
        async def stored(doc_ids: Sequence[str]) -> Container[str]:
            return await self._threads.run(collection.attributes, doc_ids)

        return stored

    async def _reply(
        self, ranking: Ranking, collection: Collection, search: CollectionQuery, texts: HitTexts
    ) -> search_pb2.SearchResponse:
        """A ranking as the caller asked for it, counted and logged as shown."""
        options = search.query.options
        fields, highlights = await self._read(texts, ranking, options.top_k)
        reply = search_pb2.SearchResponse(
            ranking=from_ranking(ranking, options, "-" * TOKEN_CHARACTERS, fields),
            next_cursor=ranking.next_cursor,
            facets=map(from_facet, ranking.facets),
            searchable_sequence=ranking.searchable_sequence,
        )
        add_highlights(reply.ranking, highlights)
        if texts.asked_by:
            check_reply(texts.asked_by, reply, self._config.server.max_message_bytes)
        # From here on nothing fails: what is logged and counted is sent.
        reply.ranking.ranking_token = self._log(ranking, collection, search)
        count_final(ranking)
        return reply

    async def _read(
        self, texts: HitTexts, ranking: Ranking, top_k: int
    ) -> tuple[Fields, Highlights]:
        if not texts.asked_by:
            return {}, {}
        doc_ids = [hit.doc_id for hit in ranking.hits[:top_k]]
        try:
            return await self._threads.run(texts.read, doc_ids)
        except asyncio.CancelledError:
            texts.stop()
            raise

    def _log(self, ranking: Ranking, collection: Collection, search: CollectionQuery) -> str:
        """The token of the impression."""
        query = search.query
        searched = ranking.searchable_sequence
        asked = Asked(query.text, query.options, query.caller, collection.name, searched)
        return self._parts.get().feedback.show(ranking, asked)


def _to_frame(reply: search_pb2.SearchResponse) -> search_pb2.SearchStreamResponse:
    """The same as one response of a stream."""
    return search_pb2.SearchStreamResponse(
        ranking=reply.ranking,
        next_cursor=reply.next_cursor,
        facets=reply.facets,
        searchable_sequence=reply.searchable_sequence,
    )


def _fitted(search: CollectionQuery, description: Description) -> CollectionQuery:
    """The search with its vector, if it brought one, checked and normalised, and its page, if it
    asks for one, of this incarnation."""
    query, page = search.query, search.page
    if query.vector is not None:
        query = _with_unit_vector(query, query.vector, description.dimensions)
    if page is not None:
        page = dataclasses.replace(page, incarnation=description.incarnation)
    return dataclasses.replace(search, query=query, page=page)


def _with_unit_vector(query: Query, vector: Sequence[float], dimensions: int) -> Query:
    if dimensions == 0:
        raise InvalidFieldError("query_vector", "is of no use: the server has no bi-encoder")
    unit = check_vector(vector, dimensions, "query_vector")
    return dataclasses.replace(query, vector=tuple(unit.tolist()))
