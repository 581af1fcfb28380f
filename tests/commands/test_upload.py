"""Uploads against a real gRPC server whose answers the test decides."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from sidecar.commands.upload import BATCH_BYTES, BATCH_DOCUMENTS, upload
from sidecar.errors import InputFileError
from sidecar.v1 import document_pb2, document_pb2_grpc


class FakeDocuments(document_pb2_grpc.DocumentServiceServicer):
    """Acknowledges batches and keeps them; refuses a batch that holds the id "bad"."""

    def __init__(self) -> None:
        self.batches: list[document_pb2.UpsertDocumentsRequest] = []

    def UpsertDocuments(self, requests, context):
        for request in requests:
            if any(document.doc_id == "bad" for document in request.documents):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "documents[0]: bad")
            self.batches.append(request)
            yield document_pb2.UpsertDocumentsResponse(document_count=len(request.documents))


@pytest.fixture
def service() -> Iterator[tuple[FakeDocuments, document_pb2_grpc.DocumentServiceStub]]:
    fake = FakeDocuments()
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    document_pb2_grpc.add_DocumentServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield fake, document_pb2_grpc.DocumentServiceStub(channel)
    server.stop(None).wait()


def documents(ids: list[str], text: str = "t") -> Iterator[tuple[document_pb2.Document, str]]:
    for doc_id in ids:
        yield document_pb2.Document(doc_id=doc_id, fields={"text": text}), doc_id


def test_every_document_once_in_order(service) -> None:
    fake, stub = service
    ids = [f"d{number}" for number in range(10 * BATCH_DOCUMENTS + 1)]
    acknowledged = list(upload(stub, "c", documents(ids)))
    assert [d.doc_id for batch in fake.batches for d in batch.documents] == ids
    assert [a.mark for a in acknowledged] == [b.documents[-1].doc_id for b in fake.batches]
    assert sum(a.documents for a in acknowledged) == len(ids)


def test_only_the_last_batch_waits_until_it_is_searchable(service) -> None:
    fake, stub = service
    list(upload(stub, "c", documents([f"d{n}" for n in range(2 * BATCH_DOCUMENTS)])))
    waits = [b.acknowledgement == document_pb2.ACKNOWLEDGEMENT_SEARCHABLE for b in fake.batches]
    assert waits == [False, True]


def test_large_documents_make_small_batches(service) -> None:
    fake, stub = service
    text = "x" * (BATCH_BYTES // 3)
    list(upload(stub, "c", documents(["a", "b", "c", "d"], text)))
    assert [len(batch.documents) for batch in fake.batches] == [2, 2]


def test_an_id_twice_goes_into_two_batches(service) -> None:
    fake, stub = service
    list(upload(stub, "c", documents(["a", "b", "a"])))
    assert [[d.doc_id for d in batch.documents] for batch in fake.batches] == [["a", "b"], ["a"]]


def test_an_error_of_the_input_comes_after_what_was_before_it(service) -> None:
    fake, stub = service

    def broken() -> Iterator[tuple[document_pb2.Document, str]]:
        yield from documents(["a", "b"])
        raise InputFileError("x.jsonl", 3, "not valid JSON")

    acknowledged = []
    with pytest.raises(InputFileError, match=r"x.jsonl, line 3"):
        acknowledged.extend(upload(stub, "c", broken()))
    assert [d.doc_id for d in fake.batches[0].documents] == ["a", "b"]


def test_a_refusal_is_raised(service) -> None:
    _, stub = service
    ids = [f"d{n}" for n in range(BATCH_DOCUMENTS)]
    marks: list[str] = []
    with pytest.raises(grpc.RpcError) as caught:
        marks.extend(a.mark for a in upload(stub, "c", documents([*ids, "bad"])))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert marks == [ids[-1]]


def test_nothing_to_write(service) -> None:
    _, stub = service
    assert list(upload(stub, "c", iter(()))) == []
