"""SearchService: check, run the pipeline, reply. One iterator of rankings, two writers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

import grpc

from sidecar.config import ServerConfig
from sidecar.errors import InvalidFieldError
from sidecar.pipeline.streams import last_ranking
from sidecar.recall.collection import Collection
from sidecar.service.messages.checks import under
from sidecar.service.messages.ranking import from_ranking
from sidecar.service.messages.search import Search, check_return_fields, to_search
from sidecar.service.parts import Parts, PartsOnceLoaded
from sidecar.service.timing import Threads, to_deadline
from sidecar.types import Ranking
from sidecar.v1 import ranking_pb2, search_pb2, search_pb2_grpc

Context = grpc.aio.ServicerContext


class SearchService(search_pb2_grpc.SearchServiceServicer):
    """Search over the documents of a collection."""

    def __init__(self, parts: PartsOnceLoaded, config: ServerConfig, threads: Threads) -> None:
        self._parts = parts
        self._config = config
        self._threads = threads

    async def Search(
        self, request: search_pb2.SearchRequest, context: Context
    ) -> search_pb2.SearchResponse:
        """The last ranking."""
        search = to_search(request)
        collection = await self._collection(search)
        async with contextlib.aclosing(self._run(collection, search, context)) as rankings:
            ranking = await last_ranking(rankings)
        return search_pb2.SearchResponse(ranking=await self._reply(ranking, collection, search))

    async def SearchStream(
        self, request: search_pb2.SearchStreamRequest, context: Context
    ) -> AsyncIterator[search_pb2.SearchStreamResponse]:
        """A ranking for each stage."""
        with under("search"):
            search = to_search(request.search)
            collection = await self._collection(search)
            async with contextlib.aclosing(self._run(collection, search, context)) as rankings:
                async for ranking in rankings:
                    reply = await self._reply(ranking, collection, search)
                    yield search_pb2.SearchStreamResponse(ranking=reply)

    async def _collection(self, search: Search) -> Collection:
        parts = self._parts.get()
        collection = await self._threads.run(parts.catalog.get, search.collection)
        check_return_fields(search.return_fields, collection.schema)
        _check_dimensions(search, parts)
        return collection

    def _run(
        self, collection: Collection, search: Search, context: Context
    ) -> AsyncGenerator[Ranking]:
        deadline = to_deadline(context, self._config)
        return self._parts.get().search.run(collection, search.query, deadline)

    async def _reply(
        self, ranking: Ranking, collection: Collection, search: Search
    ) -> ranking_pb2.Ranking:
        options, fields = search.query.options, None
        if search.return_fields:
            doc_ids = [hit.doc_id for hit in ranking.hits[: options.top_k]]
            stored = await self._threads.run(collection.fields, doc_ids)
            fields = {
                doc_id: {name: texts.get(name, "") for name in search.return_fields}
                for doc_id, texts in stored.items()
            }
        return from_ranking(ranking, options, fields)


def _check_dimensions(search: Search, parts: Parts) -> None:
    vector = search.query.vector
    if vector is None:
        return
    if parts.bi_encoder is None:
        raise InvalidFieldError("query_vector", "is of no use: the server has no bi-encoder")
    if len(vector) != parts.bi_encoder.dimensions:
        raise InvalidFieldError(
            "query_vector",
            f"has {len(vector)} values; {parts.bi_encoder.name} has"
            f" {parts.bi_encoder.dimensions} dimensions",
        )
