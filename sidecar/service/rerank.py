"""RerankService: check, run the pipeline, reply. One iterator of rankings, three writers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from sidecar.config import Config
from sidecar.pipeline.streams import last_ranking
from sidecar.service.calls import Context, count_final, to_caller
from sidecar.service.deadlines import Deadlines
from sidecar.service.messages.checks import under
from sidecar.service.messages.rerank import to_rerank_query
from sidecar.service.parts import PartsOnceLoaded
from sidecar.service.session import Session, to_reply
from sidecar.service.texts import Texts
from sidecar.v1 import rerank_pb2, rerank_pb2_grpc


class RerankService(rerank_pb2_grpc.RerankServiceServicer):
    """Reranking of candidate lists that the caller brings."""

    def __init__(
        self,
        parts: PartsOnceLoaded,
        config: Config,
        deadlines: Deadlines,
        draining: asyncio.Event,
    ) -> None:
        self._parts = parts
        self._config = config
        self._deadlines = deadlines
        self._texts = Texts(config.cache.text_bytes)
        self._draining = draining

    async def Rerank(
        self, request: rerank_pb2.RerankRequest, context: Context
    ) -> rerank_pb2.RerankResponse:
        """The last ranking."""
        query = to_rerank_query(request, self._texts, self._caller(context))
        parts = self._parts.get()
        rankings = parts.serving.rerank(query, self._deadlines.of(context))
        async with contextlib.aclosing(rankings):
            ranking = await last_ranking(rankings)
        count_final(ranking)
        return rerank_pb2.RerankResponse(ranking=to_reply(ranking, query, parts.feedback))

    async def RerankStream(
        self, request: rerank_pb2.RerankStreamRequest, context: Context
    ) -> AsyncIterator[rerank_pb2.RerankStreamResponse]:
        """A ranking for each stage."""
        with under("rerank"):
            query = to_rerank_query(request.rerank, self._texts, self._caller(context))
        parts = self._parts.get()
        rankings = parts.serving.rerank(query, self._deadlines.of(context))
        async with contextlib.aclosing(rankings):
            async for ranking in rankings:
                count_final(ranking)
                reply = to_reply(ranking, query, parts.feedback)
                yield rerank_pb2.RerankStreamResponse(ranking=reply)

    async def RerankSession(
        self, requests: AsyncIterator[rerank_pb2.RerankSessionRequest], context: Context
    ) -> None:
        """Many requests over one stream."""
        parts, caller = self._parts.get(), self._caller(context)
        limit, texts = self._config.server.session_queue_requests, self._texts
        session = Session(parts, limit, self._deadlines, self._draining, context, texts, caller)
        await session.run(requests)

    def _caller(self, context: Context) -> str:
        return to_caller(context, self._config.admission.caller_metadata_key)
