"""Searches with `min_sequence` over real gRPC: a write is found by whoever knows its number."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving import CONFIG, Served, loader, refused, serving

from sidecar.v1.collection_pb2 import CreateCollectionRequest
from sidecar.v1.document_pb2 import (
    DeleteDocumentsRequest,
    Document,
    UpsertDocumentsRequest,
    UpsertDocumentsResponse,
)
from sidecar.v1.search_pb2 import SearchRequest, SearchStreamRequest


async def create(served: Served) -> None:
    await served.collections.CreateCollection(CreateCollectionRequest(name="docs"))


async def upsert(served: Served, doc_id: str, text: str) -> UpsertDocumentsResponse:
    request = UpsertDocumentsRequest(
        collection="docs", documents=[Document(doc_id=doc_id, fields={"text": text})]
    )
    (written,) = [one async for one in served.documents.UpsertDocuments(iter([request]))]
    return written


def search(query: str, min_sequence: int = 0) -> SearchRequest:
    return SearchRequest(collection="docs", query=query, min_sequence=min_sequence)


async def test_a_write_is_found_by_its_sequence_number(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await create(served)
        for number in range(20):
            written = await upsert(served, f"d{number}", f"platypus{number}")
            request = search(f"platypus{number}", written.sequence)
            reply = await served.search.Search(request)
            assert f"d{number}" in [hit.doc_id for hit in reply.ranking.hits]
            assert reply.searchable_sequence >= written.sequence
            stream = served.search.SearchStream(SearchStreamRequest(search=request))
            assert [f.searchable_sequence >= written.sequence async for f in stream] == [True] * 3
        gone = await served.documents.DeleteDocuments(
            DeleteDocumentsRequest(collection="docs", doc_ids=["d3"])
        )
        reply = await served.search.Search(search("platypus3", gone.sequence))
        assert "d3" not in [hit.doc_id for hit in reply.ranking.hits]
        assert reply.searchable_sequence >= gone.sequence


async def test_numbers_that_were_never_given_are_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await create(served)
        written = await upsert(served, "a", "tea")
        with refused() as unknown:
            await served.search.Search(search("tea", written.sequence + 1))
        with refused() as negative:
            await served.search.SearchStream(SearchStreamRequest(search=search("tea", -1))).read()
    assert (unknown.code, unknown.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "SEQUENCE_UNKNOWN",
    )
    assert unknown.metadata == {"collection": "docs"}
    assert (negative.reason, negative.field) == ("INVALID_FIELD", "search.min_sequence")


class Stalled:
    """A loader whose collections do not become searchable before `gate` is set."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.longest_wait = 0.0

    def __call__(self, *arguments: Any) -> Any:
        loaded = loader()(*arguments)
        create_one = loaded.parts.catalog.create

        def create_stalled(*named: Any, **others: Any) -> Any:
            collection = create_one(*named, **others)
            derived = collection._derived
            step = derived._step_lexical

            def late() -> None:
                self.gate.wait()
                step()

            wait = collection.wait_searchable

            def measured(sequence: int, seconds: float) -> bool:
                started = time.monotonic()
                try:
                    return bool(wait(sequence, seconds))
                finally:
                    self.longest_wait = max(self.longest_wait, time.monotonic() - started)

            derived._step_lexical = late
            collection.wait_searchable = measured
            return collection

        loaded.parts.catalog.create = create_stalled
        return loaded


@pytest.mark.parametrize("seconds", [0.5, 4.0])
async def test_a_search_waits_for_its_share_of_the_time(tmp_path: Path, seconds: float) -> None:
    stalled = Stalled()
    async with serving(tmp_path, CONFIG, stalled) as served:
        await create(served)
        written = await upsert(served, "a", "tea")
        began = time.monotonic()
        with refused() as refusal:
            await served.search.Search(search("tea", written.sequence), timeout=seconds)
        took = time.monotonic() - began
        stalled.gate.set()
        reply = await served.search.Search(search("tea", written.sequence))
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "NOT_SEARCHABLE_YET",
    )
    share = CONFIG.recall.deadline_share
    assert 0.5 * share * seconds < took < seconds
    assert stalled.longest_wait < 1.5  # a watch does not outlive its callers for longer
    assert [hit.doc_id for hit in reply.ranking.hits] == ["a"]


async def test_a_search_that_waits_goes_on_once_it_can(tmp_path: Path) -> None:
    stalled = Stalled()
    async with serving(tmp_path, CONFIG, stalled) as served:
        await create(served)
        written = await upsert(served, "a", "tea")
        waiting = asyncio.ensure_future(
            served.search.Search(search("tea", written.sequence), timeout=60)
        )
        before = await served.search.Search(search("tea"))
        assert not before.ranking.hits
        assert before.searchable_sequence == 0
        assert not waiting.done()
        stalled.gate.set()
        reply = await waiting
    assert [hit.doc_id for hit in reply.ranking.hits] == ["a"]
    assert reply.searchable_sequence >= written.sequence
