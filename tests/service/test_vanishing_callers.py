"""Callers that leave at any moment: nothing is left over, and the server serves on and drains."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving import Served, serving

from sidecar.v1.collection_pb2 import CreateCollectionRequest
from sidecar.v1.document_pb2 import ACKNOWLEDGEMENT_SEARCHABLE, Document, UpsertDocumentsRequest
from sidecar.v1.rerank_pb2 import (
    Candidate,
    RerankRequest,
    RerankSessionRequest,
    RerankStreamRequest,
    SessionCandidates,
    SessionEnd,
    SessionStart,
)
from sidecar.v1.search_pb2 import SearchRequest, SearchStreamRequest

CALLS = 60
CANDIDATES = [Candidate(doc_id=str(number), text=f"green tea {number}") for number in range(20)]
RERANK = RerankRequest(query="tea", candidates=CANDIDATES)
SEARCH = SearchRequest(collection="docs", query="tea")


async def batches(name: int) -> AsyncIterator[UpsertDocumentsRequest]:
    for number in range(3):
        document = Document(doc_id=f"{name}-{number}", fields={"text": "tea"})
        yield UpsertDocumentsRequest(
            collection="docs", documents=[document], acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE
        )


async def session_frames() -> AsyncIterator[RerankSessionRequest]:
    for request_id in ("a", "b", "c"):
        yield RerankSessionRequest(request_id=request_id, start=SessionStart(query="tea"))
        chunk = SessionCandidates(candidates=CANDIDATES)
        yield RerankSessionRequest(request_id=request_id, candidates=chunk)
        yield RerankSessionRequest(request_id=request_id, end=SessionEnd())


def calls_of(served: Served, number: int) -> list[Any]:
    return [
        lambda: served.rerank.Rerank(RERANK),
        lambda: served.rerank.RerankStream(RerankStreamRequest(rerank=RERANK)),
        lambda: served.rerank.RerankSession(session_frames()),
        lambda: served.search.Search(SEARCH),
        lambda: served.search.SearchStream(SearchStreamRequest(search=SEARCH)),
        lambda: served.documents.UpsertDocuments(batches(number)),
    ]


async def leave(call: Any, turns: int) -> None:
    """Reads for some turns of the event loop, then goes without a word."""
    reading = asyncio.ensure_future(call.code())
    for _ in range(turns):
        await asyncio.sleep(0)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
        await reading


async def test_callers_that_leave_do_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(1)
    async with serving(tmp_path) as served:
        await served.collections.CreateCollection(CreateCollectionRequest(name="docs"))
        leaving = []
        for number in range(CALLS):
            open_call = chance.choice(calls_of(served, number))
            leaving.append(leave(open_call(), chance.randrange(200)))
        await asyncio.gather(*leaving)
        assert (await served.rerank.Rerank(RERANK)).ranking.final
        assert (await served.search.Search(SEARCH)).ranking.final
        served.stop.set()
        await asyncio.wait_for(served.task, 20)
    assert "Traceback" not in caplog.text
    assert "cut off" not in caplog.text
