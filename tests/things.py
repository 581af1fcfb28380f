"""A tiny judged set, and its corpus in a running sidecar."""

from __future__ import annotations

from collections.abc import AsyncIterator

from serving import Served

from sidecar.evaluation.beir import JudgedSet
from sidecar.v1 import collection_pb2, document_pb2

COLLECTION = "things"
# Every document has the word "thing" and two of five others; relevant is what has the query's.
TEXTS = {f"d{n}": f"word{n % 5} word{(n + 1) % 5} thing d{n}" for n in range(10)}
JUDGED = JudgedSet(
    COLLECTION,
    {f"q{n}": f"word{n} thing" for n in range(5)},
    {
        f"q{n}": {doc_id: int(f"word{n}" in text.split()) for doc_id, text in TEXTS.items()}
        for n in range(5)
    },
)


async def index_things(server: Served) -> None:
    """Writes the corpus; it is searchable afterwards."""
    schema = collection_pb2.Schema(
        text_fields=[
            collection_pb2.TextField(name="text", analyzer=collection_pb2.ANALYZER_ENGLISH)
        ]
    )
    await server.collections.CreateCollection(
        collection_pb2.CreateCollectionRequest(name=COLLECTION, schema=schema)
    )
    documents = [
        document_pb2.Document(doc_id=doc_id, fields={"text": text})
        for doc_id, text in TEXTS.items()
    ]

    async def requests() -> AsyncIterator[document_pb2.UpsertDocumentsRequest]:
        yield document_pb2.UpsertDocumentsRequest(
            collection=COLLECTION,
            documents=documents,
            acknowledgement=document_pb2.ACKNOWLEDGEMENT_SEARCHABLE,
        )

    async for _ in server.documents.UpsertDocuments(requests()):
        pass
