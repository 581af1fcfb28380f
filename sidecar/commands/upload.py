"""Streams documents to a running sidecar in batches, a bounded number of them unacknowledged."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from sidecar.errors import SidecarError
from sidecar.v1 import document_pb2, document_pb2_grpc

T = TypeVar("T")
BATCH_DOCUMENTS = 256
BATCH_BYTES = 4 * 1024 * 1024  # well below the 16 MiB that a batch may have
BATCHES_IN_FLIGHT = 4  # the server encodes one while the next ones travel


@dataclass(frozen=True, slots=True)
class Acknowledged(Generic[T]):
    """A batch that is stored: how many documents, and the mark of the last one."""

    documents: int
    mark: T


def upload(
    stub: document_pb2_grpc.DocumentServiceStub,
    collection: str,
    documents: Iterable[tuple[document_pb2.Document, T]],
) -> Iterator[Acknowledged[T]]:
    """Writes (document, mark) pairs in order and yields each acknowledgement as it comes.

    Batches are acknowledged when durable, the last one when searchable. A SidecarError of the
    iterable's own ends the stream after the documents before it were acknowledged, and is then
    raised; a refusal is raised as grpc.RpcError.
    """
    batches = _Batches(collection, documents)
    for response in stub.UpsertDocuments(iter(batches)):
        yield Acknowledged(response.document_count, batches.acknowledged())
    if batches.error is not None:
        raise batches.error


class _Batches(Generic[T]):
    """The requests of one upload; gRPC draws them from a thread of its own."""

    def __init__(
        self, collection: str, documents: Iterable[tuple[document_pb2.Document, T]]
    ) -> None:
        self._collection, self._documents = collection, documents
        self._slots = threading.Semaphore(BATCHES_IN_FLIGHT)
        self._marks: deque[T] = deque()
        self.error: SidecarError | None = None

    def __iter__(self) -> Iterator[document_pb2.UpsertDocumentsRequest]:
        batch = document_pb2.UpsertDocumentsRequest(collection=self._collection)
        ids: set[str] = set()
        size = 0
        mark: T | None = None
        try:
            for document, mark_after in self._documents:
                if mark is not None and (
                    document.doc_id in ids or _is_full(len(ids), size + document.ByteSize())
                ):
                    yield self._sent(batch, mark)
                    batch = document_pb2.UpsertDocumentsRequest(collection=self._collection)
                    ids, size = set(), 0
                batch.documents.append(document)
                ids.add(document.doc_id)
                size, mark = size + document.ByteSize(), mark_after
        except SidecarError as error:  # raised again by upload(), where the caller can see it
            self.error = error
        if mark is not None:
            batch.acknowledgement = document_pb2.ACKNOWLEDGEMENT_SEARCHABLE
            yield self._sent(batch, mark)

    def acknowledged(self) -> T:
        """The mark of the batch acknowledged next; makes room for one more."""
        self._slots.release()
        return self._marks.popleft()

    def _sent(
        self, batch: document_pb2.UpsertDocumentsRequest, mark: T
    ) -> document_pb2.UpsertDocumentsRequest:
        self._slots.acquire()
        self._marks.append(mark)
        return batch


def _is_full(documents: int, size: int) -> bool:
    return documents >= BATCH_DOCUMENTS or size > BATCH_BYTES
