"""document.proto: batches in, documents in and out. Their limits are checked in recall."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.errors import InvalidFieldError
from sidecar.service.messages.checks import check_bytes, check_collection, refuse_fields
from sidecar.service.messages.filters import from_attribute, to_attribute
from sidecar.types import Document
from sidecar.v1 import document_pb2

MAX_BATCH_ID_BYTES = 128
ACKNOWLEDGEMENTS = {
    document_pb2.ACKNOWLEDGEMENT_UNSPECIFIED: False,
    document_pb2.ACKNOWLEDGEMENT_DURABLE: False,
    document_pb2.ACKNOWLEDGEMENT_SEARCHABLE: True,
}


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of an upsert, and whether its acknowledgement waits until it is searchable."""

    collection: str
    batch_id: str
    documents: tuple[Document, ...]
    searchable: bool


def to_batch(message: document_pb2.UpsertDocumentsRequest, collection_before: str) -> Batch:
    """The batch of a request that follows one for `collection_before` ("" for the first)."""
    collection = message.collection or collection_before
    check_collection("collection", collection)
    check_bytes("batch_id", message.batch_id, MAX_BATCH_ID_BYTES)
    refuse_fields(message, ("request_id",))
    if message.acknowledgement not in ACKNOWLEDGEMENTS:
        raise InvalidFieldError(
            "acknowledgement",
            f"{message.acknowledgement} is unknown: give ACKNOWLEDGEMENT_DURABLE or"
            " ACKNOWLEDGEMENT_SEARCHABLE",
        )
    documents = tuple(
        to_document(one, f"documents[{index}]") for index, one in enumerate(message.documents)
    )
    searchable = ACKNOWLEDGEMENTS[message.acknowledgement]
    return Batch(collection, message.batch_id, documents, searchable)


def to_document(message: document_pb2.Document, field: str) -> Document:
    """The document of a message."""
    refuse_fields(message, ("expected_version",), field)
    return Document(
        doc_id=message.doc_id,
        fields=dict(message.fields),
        attributes={
            name: to_attribute(value, f'{field}.attributes["{name}"]')
            for name, value in message.attributes.items()
        },
        vector=tuple(message.vector) or None,
    )


def from_document(document: Document) -> document_pb2.Document:
    """The message of a document."""
    return document_pb2.Document(
        doc_id=document.doc_id,
        fields=document.fields,
        attributes={name: from_attribute(value) for name, value in document.attributes.items()},
        vector=None if document.vector is None else [float(value) for value in document.vector],
    )
