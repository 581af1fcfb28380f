"""Callers that leave at any moment, hurry, or send nonsense: nothing is left over, and the server
serves on and drains. `benchmarks/soak.py` does the same with a real process and real models."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from fakes import FakeCrossEncoder
from prometheus_client import REGISTRY
from serving import CONFIG, Served, loader, serving, with_server

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
SOAK_CALLS, AT_A_TIME = 400, 12
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


def bad_calls_of(served: Served) -> list[Any]:
    without_query = RerankRequest(candidates=CANDIDATES)
    wrong_digest = Candidate(doc_id="a", text="tea", content_digest=bytes(32))
    return [
        lambda: served.rerank.Rerank(without_query),
        lambda: served.rerank.Rerank(RerankRequest(query="tea", candidates=[wrong_digest])),
        lambda: served.rerank.RerankStream(RerankStreamRequest(rerank=without_query)),
        lambda: served.search.Search(SearchRequest(collection="none", query="tea")),
    ]


async def end_of(call: Any) -> grpc.StatusCode:
    """The status of a call, whatever it streams."""
    if hasattr(call, "read"):
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
    return await call.code()


async def one_call(served: Served, number: int, chance: random.Random) -> None:
    manner = chance.choice(["good", "bad", "hurried", "leaving", "leaving"])
    if manner == "bad":
        code = await end_of(chance.choice(bad_calls_of(served))())
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    elif manner == "hurried":
        code = await end_of(served.rerank.Rerank(RERANK, timeout=chance.uniform(0.001, 0.03)))
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED)
    elif manner == "good":
        assert await end_of(chance.choice(calls_of(served, number))()) is grpc.StatusCode.OK
    else:
        await leave(chance.choice(calls_of(served, number))(), chance.randrange(200))


def what_is_left() -> dict[str, float]:
    """Everything that a server at rest must not have."""
    names = ("sidecar_calls_under_way", "sidecar_queue_pairs", "sidecar_admitted_seconds")
    return {
        f"{sample.name} {sample.labels}": sample.value
        for metric in REGISTRY.collect()
        if metric.name in names
        for sample in metric.samples
        if abs(sample.value) > 1e-9
    }


async def test_hundreds_of_calls_of_every_manner_leave_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chance, numbers = random.Random(2), iter(range(SOAK_CALLS))
    load = loader(FakeCrossEncoder(nan_words=["7"]), FakeCrossEncoder(raise_words=["11"]))
    async with serving(tmp_path, with_server(CONFIG, max_calls=64), load) as served:
        await served.collections.CreateCollection(CreateCollectionRequest(name="docs"))

        async def lane() -> None:
            for number in numbers:
                await one_call(served, number, chance)

        await asyncio.gather(*(lane() for _ in range(AT_A_TIME)))
        assert (await served.rerank.Rerank(RERANK)).ranking.final
        served.stop.set()
        await asyncio.wait_for(served.task, 20)
    assert what_is_left() == {}
    assert "Traceback" not in caplog.text
    assert "cut off" not in caplog.text
