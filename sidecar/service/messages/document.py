"""document.proto: batches in, documents in and out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.service.messages.checks import (
    MAX_ID_BYTES,
    MAX_PER_REQUEST,
    MAX_REQUEST_TEXT_BYTES,
    MAX_TEXT_BYTES,
    byte_count,
    check_bytes,
    check_collection,
    check_count,
    check_new,
    check_text,
    to_vector,
)
from sidecar.service.messages.filters import from_attribute, to_attribute
from sidecar.types import Document
from sidecar.v1 import document_pb2

MAX_BATCH_ID_BYTES = 128
_ACKNOWLEDGEMENTS = {
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
    searchable = _to_searchable(message.acknowledgement)
    check_count("documents", len(message.documents), MAX_PER_REQUEST, "documents")
    if message.ByteSize() > MAX_REQUEST_TEXT_BYTES:
        _check_sizes(message)
    seen: dict[str, int] = {}
    documents = []
    for index, one in enumerate(message.documents):
        check_new(f"documents[{index}].doc_id", one.doc_id, seen, "documents")
        seen[one.doc_id] = index
        documents.append(to_document(one, f"documents[{index}]"))
    return Batch(collection, message.batch_id, tuple(documents), searchable)


def _to_searchable(value: int) -> bool:
    for known, searchable in _ACKNOWLEDGEMENTS.items():
        if known == value:
            return searchable
    raise InvalidFieldError(
        "acknowledgement",
        f"{value} is unknown: give ACKNOWLEDGEMENT_DURABLE or ACKNOWLEDGEMENT_SEARCHABLE",
    )


def _check_sizes(message: document_pb2.UpsertDocumentsRequest) -> None:
    """Names the document that is too large by itself before it speaks of all together."""
    for index, one in enumerate(message.documents):
        _check_fields(one.fields, f"documents[{index}].fields")
    size = sum(one.ByteSize() for one in message.documents)
    if size > MAX_REQUEST_TEXT_BYTES:
        raise TooLargeError(
            "documents",
            f"have {size:,} bytes; at most {MAX_REQUEST_TEXT_BYTES:,} are accepted in one batch:"
            " send smaller batches",
        )


def to_document(message: document_pb2.Document, field: str) -> Document:
    """The document of a message."""
    check_text(f"{field}.doc_id", message.doc_id, MAX_ID_BYTES)
    _check_fields(message.fields, f"{field}.fields")
    return Document(
        doc_id=message.doc_id,
        fields=dict(message.fields),
        attributes={
            name: to_attribute(value, f"{field}.attributes.{name}")
            for name, value in message.attributes.items()
        },
        vector=to_vector(f"{field}.vector", message.vector) if message.vector else None,
    )


def _check_fields(fields: Mapping[str, str], field: str) -> None:
    sizes = {name: byte_count(text) for name, text in fields.items()}
    if sum(sizes.values()) > MAX_TEXT_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise TooLargeError(
            f"{field}.{largest}",
            f"makes the texts {sum(sizes.values()):,} bytes; at most {MAX_TEXT_BYTES:,} are"
            " accepted in one document",
        )
    if not any(text.strip() for text in fields.values()):
        raise InvalidFieldError(field, "are all empty: a document needs text in one field")


def from_document(document: Document) -> document_pb2.Document:
    """The message of a document."""
    return document_pb2.Document(
        doc_id=document.doc_id,
        fields=document.fields,
        attributes={name: from_attribute(value) for name, value in document.attributes.items()},
        vector=document.vector,
    )
