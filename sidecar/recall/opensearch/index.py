"""An index of the sidecar's own: its mapping, and documents as they are kept there.

The terms are those of our analyzers, joined by spaces and split there, so that recall is the same
wherever a collection is kept: a field for each text field, and one for all of an analyzer. The
texts themselves are stored and not indexed. A deleted document stays as a tombstone with the
sequence number of its deletion, so that no write before it, however late, brings it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sidecar.config import BackendConfig
from sidecar.errors import BackendError
from sidecar.recall.analyzers import ANALYZERS_VERSION, analyzer
from sidecar.recall.remote import RemoteRecord
from sidecar.storage.rows import from_row_value, schema_from_json, schema_to_json, to_row_value
from sidecar.storage.stored_generations import BiEncoderIdentity, Vector
from sidecar.types import Attribute, AttributeType, Document, Schema

FORMAT = 1
META = "sidecar"
DOC_ID = "doc_id"
SEQUENCE = "sequence"
DELETED = "deleted"
VECTOR = "vector"
# Links a node and width of the search while the graph is built: Lucene's defaults for quality.
HNSW_LINKS = 16
HNSW_CONSTRUCTION = 128
_TEXT = {"type": "text", "analyzer": "whitespace", "index_options": "freqs"}
_TYPES = {
    AttributeType.STRING: "keyword",
    AttributeType.STRING_LIST: "keyword",
    AttributeType.INTEGER: "long",
    AttributeType.DOUBLE: "double",
    AttributeType.BOOLEAN: "long",
    AttributeType.TIMESTAMP: "long",
}


def write_alias(index: str) -> str:
    """What is written to: unlike an index, an alias that is not there is not made by a write."""
    return f"{index}.write"


def terms_field(analyzer_name: str) -> str:
    """The field of the index that holds the terms of all text fields of an analyzer."""
    return f"terms_{analyzer_name}"


def field_terms(name: str) -> str:
    """The field of the index that holds the terms of one text field."""
    return f"terms.{name}"


def attribute_field(name: str) -> str:
    """The field of the index that holds an attribute."""
    return f"attributes.{name}"


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as it was read back; `document` is None for a tombstone."""

    doc_id: str
    sequence: int
    document: Document | None


def to_index(record: RemoteRecord, config: BackendConfig) -> dict[str, Any]:
    """The body of the request that creates the index of a collection."""
    replicas: dict[str, object] = {"number_of_replicas": config.replicas}
    if "-" in config.replicas:
        replicas = {"auto_expand_replicas": config.replicas}
    bm25 = {"type": "BM25", "k1": 1.2, "b": 0.75}
    return {
        "settings": {
            "index": {
                "number_of_shards": config.shards,
                "knn": True,
                "similarity": {"default": bm25},
                **replicas,
            }
        },
        "aliases": {write_alias(record.backend.index): {}},
        "mappings": {
            "dynamic": "strict",
            "_meta": {META: to_meta(record)},
            # They can be made from the texts again.
            "_source": {"excludes": ["terms"]},
            "properties": _properties(record),
        },
    }


def to_meta(record: RemoteRecord) -> dict[str, Any]:
    """What an index says of itself."""
    identity = record.bi_encoder
    return {
        "format": FORMAT,
        "collection_id": record.collection_id,
        "schema": schema_to_json(record.schema),
        "analyzers_version": ANALYZERS_VERSION,
        "bi_encoder": [identity.name, identity.revision, identity.dimensions] if identity else None,
    }


@dataclass(frozen=True, slots=True)
class Meta:
    """What an index says of itself."""

    collection_id: str
    schema: Schema
    bi_encoder: BiEncoderIdentity | None


def from_meta(index: str, mappings: Mapping[str, Any]) -> Meta:
    """Of an index's mappings. Raises BackendError if it is none of ours, or of another version."""
    meta = mappings.get("_meta", {}).get(META)
    if meta is None:
        raise BackendError(
            f"index {index!r} was not made by a sidecar: say in `backend.mapping` where it keeps "
            "what a collection asks for, or give another name"
        )
    for key, wanted in (("format", FORMAT), ("analyzers_version", ANALYZERS_VERSION)):
        if meta.get(key) != wanted:
            raise BackendError(
                f"index {index!r} has {key} {meta.get(key)}, this sidecar writes {wanted}: "
                "write the documents into a new collection"
            )
    identity = BiEncoderIdentity(*meta["bi_encoder"]) if meta["bi_encoder"] else None
    return Meta(meta["collection_id"], schema_from_json(meta["schema"]), identity)


def to_source(document: Document, schema: Schema, sequence: int, vector: Vector | None) -> Any:
    """A document as it is kept."""
    source: dict[str, object] = {
        DOC_ID: document.doc_id,
        SEQUENCE: sequence,
        "fields": dict(document.fields),
        "terms": {
            field.name: " ".join(analyzer(field.analyzer)(document.fields.get(field.name, "")))
            for field in schema.text_fields
        },
        "attributes": {name: to_kept(value) for name, value in document.attributes.items()},
    }
    if vector is not None:
        source[VECTOR] = vector.tolist()
    return source


def to_tombstone(doc_id: str, sequence: int) -> Any:
    """What stays of a deleted document."""
    return {DOC_ID: doc_id, SEQUENCE: sequence, DELETED: True}


def from_source(source: Mapping[str, Any], types: Mapping[str, AttributeType]) -> Stored:
    """A document, or tombstone, as it was kept; without what was not asked for."""
    doc_id, sequence = source[DOC_ID], source.get(SEQUENCE, 0)
    if source.get(DELETED):
        return Stored(doc_id, sequence, None)
    vector = np.asarray(source[VECTOR], np.float32) if VECTOR in source else None
    document = Document(
        doc_id,
        source.get("fields", {}),
        attributes_of(source, types),
        None if vector is None else vector.tolist(),
        sequence,
    )
    return Stored(doc_id, sequence, document)


def to_kept(value: Attribute) -> object:
    """An attribute's value as it is kept and filtered by."""
    return list(value) if isinstance(value, tuple) else to_row_value(value)


def attributes_of(
    source: Mapping[str, Any], types: Mapping[str, AttributeType]
) -> dict[str, Attribute]:
    """The attributes of a document as it was kept."""
    return {
        name: tuple(value) if isinstance(value, list) else from_row_value(value, types[name])
        for name, value in source.get("attributes", {}).items()
        if name in types
    }


def _properties(record: RemoteRecord) -> dict[str, Any]:
    schema, identity = record.schema, record.bi_encoder
    properties: dict[str, Any] = {
        DOC_ID: {"type": "keyword"},
        SEQUENCE: {"type": "long"},
        DELETED: {"type": "boolean"},
        "fields": {"type": "object", "enabled": False},
        "terms": {
            "properties": {
                field.name: {**_TEXT, "copy_to": terms_field(field.analyzer)}
                for field in schema.text_fields
            }
        },
        "attributes": {
            "properties": {one.name: {"type": _TYPES[one.type]} for one in schema.attributes}
        },
    }
    properties |= {terms_field(field.analyzer): _TEXT for field in schema.text_fields}
    if identity is not None:
        properties[VECTOR] = _vector_field(identity.dimensions)
    return properties


def _vector_field(dimensions: int) -> dict[str, Any]:
    """Of Lucene's own HNSW: other ways need libraries that not every OpenSearch has, and a mapping
    that names one is accepted without."""
    parameters = {"m": HNSW_LINKS, "ef_construction": HNSW_CONSTRUCTION}
    method = {"name": "hnsw", "engine": "lucene", "parameters": parameters}
    return {
        "type": "knn_vector",
        "dimension": dimensions,
        "space_type": "cosinesimil",
        "method": method,
    }
