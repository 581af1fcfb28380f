"""SearchService: check, run the pipeline, reply. One iterator of rankings, two writers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator

from sidecar.config import Config
from sidecar.errors import InvalidFieldError
from sidecar.pipeline.feedback import Asked
from sidecar.pipeline.streams import last_ranking
from sidecar.recall.collection import Collection
from sidecar.recall.vectors import check_vector
from sidecar.service.calls import Context, Threads, count_final, to_caller
from sidecar.service.deadlines import Deadlines
from sidecar.service.messages.checks import check_reply, under
from sidecar.service.messages.ranking import from_ranking
from sidecar.service.messages.search import CollectionQuery, check_return_fields, to_search
from sidecar.service.parts import PartsOnceLoaded
from sidecar.types import Ranking
from sidecar.v1 import ranking_pb2, search_pb2, search_pb2_grpc


class SearchService(search_pb2_grpc.SearchServiceServicer):
    """Search over the documents of a collection."""

    def __init__(
        self, parts: PartsOnceLoaded, config: Config, deadlines: Deadlines, threads: Threads
    ) -> None:
        self._parts = parts
        self._config = config
        self._deadlines = deadlines
        self._threads = threads

    async def Search(
        self, request: search_pb2.SearchRequest, context: Context
    ) -> search_pb2.SearchResponse:
        """The last ranking."""
        collection, search = self._open(request, context)
        async with contextlib.aclosing(self._run(collection, search, context)) as rankings:
            ranking = await last_ranking(rankings)
        return search_pb2.SearchResponse(ranking=await self._reply(ranking, collection, search))

    async def SearchStream(
        self, request: search_pb2.SearchStreamRequest, context: Context
    ) -> AsyncIterator[search_pb2.SearchStreamResponse]:
        """A ranking for each stage."""
        with under("search"):
            collection, search = self._open(request.search, context)
            async with contextlib.aclosing(self._run(collection, search, context)) as rankings:
                async for ranking in rankings:
                    reply = await self._reply(ranking, collection, search)
                    yield search_pb2.SearchStreamResponse(ranking=reply)

    def _open(
        self, request: search_pb2.SearchRequest, context: Context
    ) -> tuple[Collection, CollectionQuery]:
        """The checked search and the collection it goes to."""
        caller = to_caller(context, self._config.admission.caller_metadata_key)
        search = to_search(request, caller)
        collection = self._parts.get().catalog.get(search.collection)
        check_return_fields(search.return_fields, collection.schema)
        return collection, _with_unit_vector(search, collection.describe().dimensions)

    def _run(
        self, collection: Collection, search: CollectionQuery, context: Context
    ) -> AsyncGenerator[Ranking]:
        deadline = self._deadlines.of(context)
        return self._parts.get().serving.search(collection, search.query, deadline)

    async def _reply(
        self, ranking: Ranking, collection: Collection, search: CollectionQuery
    ) -> ranking_pb2.Ranking:
        count_final(ranking)
        query, options = search.query, search.query.options
        asked = Asked(
            query.text, options, query.caller, collection.name, collection.searchable_sequence
        )
        token = self._parts.get().feedback.show(ranking, asked)
        if not search.return_fields:
            return from_ranking(ranking, options, token)
        doc_ids = [hit.doc_id for hit in ranking.hits[: options.top_k]]
        stored = await self._threads.run(collection.fields, doc_ids)
        fields = {
            doc_id: {name: texts.get(name, "") for name in search.return_fields}
            for doc_id, texts in stored.items()
        }
        reply = from_ranking(ranking, options, token, fields)
        check_reply("return_fields", reply, self._config.server.max_message_bytes)
        return reply


def _with_unit_vector(search: CollectionQuery, dimensions: int) -> CollectionQuery:
    """The search with the vector that it brought, if any, checked and normalised."""
    if search.query.vector is None:
        return search
    if dimensions == 0:
        raise InvalidFieldError("query_vector", "is of no use: the server has no bi-encoder")
    unit = check_vector(search.query.vector, dimensions, "query_vector")
    query = dataclasses.replace(search.query, vector=tuple(unit.tolist()))
    return dataclasses.replace(search, query=query)
