"""document.proto: batches in, documents in and out. Their limits are checked in recall."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.errors import InvalidFieldError
from sidecar.recall.collection import Written
from sidecar.service.messages.checks import check_bytes, check_collection
from sidecar.service.messages.filters import from_attribute, to_attribute
from sidecar.types import Document
from sidecar.v1 import document_pb2

MAX_BATCH_ID_BYTES = 128
MAX_REQUEST_ID_BYTES = 128
ACKNOWLEDGEMENTS = {
    document_pb2.ACKNOWLEDGEMENT_UNSPECIFIED: False,
    document_pb2.ACKNOWLEDGEMENT_DURABLE: False,
    document_pb2.ACKNOWLEDGEMENT_SEARCHABLE: True,
}


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of an upsert, and whether its acknowledgement waits until it is searchable.

    `expected_versions` is empty, or has one for each document.
    """

    collection: str
    batch_id: str
    documents: tuple[Document, ...]
    searchable: bool
    request_id: str = ""
    expected_versions: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Removal:
    """Documents to delete, likewise."""

    collection: str
    doc_ids: tuple[str, ...]
    searchable: bool
    request_id: str
    expected_versions: tuple[int, ...]


def to_batch(message: document_pb2.UpsertDocumentsRequest, collection_before: str) -> Batch:
    """The batch of a request that follows one for `collection_before` ("" for the first)."""
    collection = message.collection or collection_before
    check_collection("collection", collection)
    check_bytes("batch_id", message.batch_id, MAX_BATCH_ID_BYTES)
    check_bytes("request_id", message.request_id, MAX_REQUEST_ID_BYTES)
    documents = tuple(
        to_document(one, f"documents[{index}]") for index, one in enumerate(message.documents)
    )
    return Batch(
        collection=collection,
        batch_id=message.batch_id,
        documents=documents,
        searchable=_is_to_be_searchable(message.acknowledgement),
        request_id=message.request_id,
        expected_versions=_to_expected_versions(message.documents),
    )


def to_removal(message: document_pb2.DeleteDocumentsRequest) -> Removal:
    """What a request deletes."""
    check_collection("collection", message.collection)
    check_bytes("request_id", message.request_id, MAX_REQUEST_ID_BYTES)
    return Removal(
        collection=message.collection,
        doc_ids=tuple(message.doc_ids),
        searchable=_is_to_be_searchable(message.acknowledgement),
        request_id=message.request_id,
        expected_versions=tuple(message.expected_versions),
    )


def _is_to_be_searchable(acknowledgement: document_pb2.Acknowledgement) -> bool:
    if acknowledgement not in ACKNOWLEDGEMENTS:
        raise InvalidFieldError(
            "acknowledgement",
            f"{acknowledgement} is unknown: give ACKNOWLEDGEMENT_DURABLE or"
            " ACKNOWLEDGEMENT_SEARCHABLE",
        )
    return ACKNOWLEDGEMENTS[acknowledgement]


def _to_expected_versions(documents: Iterable[document_pb2.Document]) -> tuple[int | None, ...]:
    versions = [
        one.expected_version if one.HasField("expected_version") else None for one in documents
    ]
    return tuple(versions) if any(version is not None for version in versions) else ()


def to_document(message: document_pb2.Document, field: str) -> Document:
    """The document of a message."""
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
        version=document.version,
    )


def from_upsert(batch: Batch, written: Written) -> document_pb2.UpsertDocumentsResponse:
    """The acknowledgement of a batch."""
    return document_pb2.UpsertDocumentsResponse(
        batch_id=batch.batch_id,
        document_count=len(batch.documents),
        sequence=written.sequence,
        durable_sequence=written.durable_sequence,
        searchable_sequence=written.searchable_sequence,
        repeated=written.repeated,
        conflicts=_from_conflicts(written),
        versions=written.versions,
    )


def from_removal(written: Written) -> document_pb2.DeleteDocumentsResponse:
    """The answer to a request that deletes."""
    return document_pb2.DeleteDocumentsResponse(
        deleted_count=written.count,
        sequence=written.sequence,
        durable_sequence=written.durable_sequence,
        searchable_sequence=written.searchable_sequence,
        repeated=written.repeated,
        conflicts=_from_conflicts(written),
    )


def _from_conflicts(written: Written) -> list[document_pb2.VersionConflict]:
    return [
        document_pb2.VersionConflict(doc_id=conflict.doc_id, version=conflict.version)
        for conflict in written.conflicts
    ]
