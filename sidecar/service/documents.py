"""DocumentService: check, call the collection in a thread, reply."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterable

from sidecar.config import ServerConfig
from sidecar.errors import DeadlineError, StorageError
from sidecar.recall.checks import check_doc_ids
from sidecar.recall.collection import Collection, Written
from sidecar.service.calls import Context, Threads, until_draining
from sidecar.service.deadlines import Deadlines
from sidecar.service.messages.checks import check_collection, check_reply
from sidecar.service.messages.document import (
    Batch,
    Removal,
    from_document,
    from_removal,
    from_upsert,
    to_batch,
    to_removal,
)
from sidecar.service.parts import PartsOnceLoaded
from sidecar.service.waiting import SearchableWaits
from sidecar.types import Document
from sidecar.v1 import document_pb2, document_pb2_grpc


class DocumentService(document_pb2_grpc.DocumentServiceServicer):
    """The documents of collections."""

    def __init__(
        self,
        parts: PartsOnceLoaded,
        config: ServerConfig,
        deadlines: Deadlines,
        threads: Threads,
        draining: asyncio.Event,
    ) -> None:
        self._parts = parts
        self._config = config
        self._deadlines = deadlines
        self._threads = threads
        self._draining = draining
        self._waits = SearchableWaits()

    async def UpsertDocuments(
        self, requests: AsyncIterator[document_pb2.UpsertDocumentsRequest], context: Context
    ) -> AsyncIterator[document_pb2.UpsertDocumentsResponse]:
        """Writes batch after batch, each acknowledged before the next is read."""
        name = ""
        async for request in until_draining(requests, self._draining):
            batch, collection, written = await self._threads.run(self._write, request, name)
            name = batch.collection
            if batch.searchable:
                written = await self._searchable(collection, written.sequence, written, context)
            yield from_upsert(batch, written)

    async def DeleteDocuments(
        self, request: document_pb2.DeleteDocumentsRequest, context: Context
    ) -> document_pb2.DeleteDocumentsResponse:
        """Deletes documents by id."""
        removal = to_removal(request)
        collection, written = await self._threads.run(self._delete, removal)
        if removal.searchable and not written.conflicts:
            # Where nothing was deleted, the writes before are all there are.
            sequence = written.sequence or written.durable_sequence
            written = await self._searchable(collection, sequence, written, context)
        return from_removal(written)

    async def GetDocuments(
        self, request: document_pb2.GetDocumentsRequest, context: Context
    ) -> document_pb2.GetDocumentsResponse:
        """Reads documents by id."""
        collection = self._collection(request.collection)
        check_doc_ids(request.doc_ids)
        return await self._threads.run(self._read, collection, request)

    async def GetStats(
        self, request: document_pb2.GetStatsRequest, context: Context
    ) -> document_pb2.GetStatsResponse:
        """Counts documents and index entries."""
        stats = await self._threads.run(self._collection(request.collection).stats)
        return document_pb2.GetStatsResponse(
            document_count=stats.document_count,
            durable_sequence=stats.durable_sequence,
            searchable_sequence=stats.searchable_sequence,
            lexical_count=stats.lexical_count,
            dense_count=stats.dense_count,
            dense_form=stats.dense_form,
            dense_building=stats.dense_building,
            disk_bytes=stats.disk_bytes,
        )

    def _collection(self, name: str) -> Collection:
        check_collection("collection", name)
        return self._parts.get().catalog.get(name)

    def _write(
        self, request: document_pb2.UpsertDocumentsRequest, collection_before: str
    ) -> tuple[Batch, Collection, Written]:
        batch = to_batch(request, collection_before)
        collection = self._collection(batch.collection)
        written = collection.upsert(
            batch.documents,
            request_id=batch.request_id,
            expected_versions=batch.expected_versions,
        )
        return batch, self._answered(collection, written), written

    def _delete(self, removal: Removal) -> tuple[Collection, Written]:
        collection = self._collection(removal.collection)
        written = collection.delete(
            removal.doc_ids,
            request_id=removal.request_id,
            expected_versions=removal.expected_versions,
        )
        return self._answered(collection, written), written

    def _answered(self, collection: Collection, written: Written) -> Collection:
        """The one whose numbers these are: another where the collection was moved meanwhile."""
        if written.sequence <= collection.durable_sequence:
            return collection
        return self._parts.get().catalog.get(collection.name)

    async def _searchable(
        self, collection: Collection, sequence: int, written: Written, context: Context
    ) -> Written:
        """Once all writes up to a sequence number are searchable; `written` is durable whatever
        happens here."""
        deadline = self._deadlines.of(context, float("inf"))
        if sequence > collection.durable_sequence:
            raise StorageError(f"{collection.name} was dropped: the write is not searchable")
        if not await self._waits.wait(collection, sequence, deadline):
            raise DeadlineError(
                "the deadline passed before the write was searchable: it is durable all the same"
            )
        searchable = max(sequence, written.searchable_sequence)
        return dataclasses.replace(written, searchable_sequence=searchable)

    def _read(
        self, collection: Collection, request: document_pb2.GetDocumentsRequest
    ) -> document_pb2.GetDocumentsResponse:
        documents = collection.get(list(request.doc_ids), request.include_vectors)
        reply = document_pb2.GetDocumentsResponse(
            documents=[from_document(document) for document in documents],
            missing_doc_ids=_missing(request.doc_ids, documents),
        )
        check_reply("doc_ids", reply, self._config.max_message_bytes)
        return reply


def _missing(doc_ids: Iterable[str], documents: Iterable[Document]) -> list[str]:
    found = {document.doc_id for document in documents}
    return [doc_id for doc_id in dict.fromkeys(doc_ids) if doc_id not in found]
