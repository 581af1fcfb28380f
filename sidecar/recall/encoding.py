"""Passages of documents, and their vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sidecar.errors import ModelError
from sidecar.models.base import BiEncoder
from sidecar.recall.vectors import check_vector, normalised
from sidecar.storage.stored_generations import BiEncoderIdentity, Vector
from sidecar.types import Document, Schema, to_passage


def identity_of(bi_encoder: BiEncoder) -> BiEncoderIdentity:
    """What tells the vectors of one model and revision from those of another."""
    contract = bi_encoder.contract
    return BiEncoderIdentity(contract.name, contract.revision, contract.dimensions)


def passage_of(fields: Mapping[str, str], schema: Schema) -> str:
    """What models read of a document: its text fields in the order of the schema."""
    return to_passage([fields.get(field.name, "") for field in schema.text_fields])


def callers_vectors(documents: Sequence[Document], dimensions: int) -> list[Vector | None]:
    """Unit vectors that came with the documents; None for those without.

    Raises InvalidFieldError ("documents[3].vector").
    """
    return [
        check_vector(document.vector, dimensions, f"documents[{position}].vector")
        if document.vector is not None and len(document.vector)
        else None
        for position, document in enumerate(documents)
    ]


def document_vectors(
    documents: Sequence[Document], bi_encoder: BiEncoder, schema: Schema
) -> list[Vector]:
    """Unit vectors: the caller's, and for documents without one those of the bi-encoder.

    Raises InvalidFieldError for a caller's vector, ModelError for the bi-encoder's.
    """
    vectors = callers_vectors(documents, bi_encoder.contract.dimensions)
    bare = [document for document, own in zip(documents, vectors, strict=True) if own is None]
    passages = [passage_of(document.fields, schema) for document in bare]
    encoded = iter(encode_passages(bi_encoder, passages) if bare else ())
    return [next(encoded) if own is None else own for own in vectors]


def encode_passages(bi_encoder: BiEncoder, passages: Sequence[str]) -> Vector:
    """Unit vectors (passages, dimensions). Raises ModelError for what cannot be one."""
    encoded = bi_encoder.encode_passages(passages)
    contract = bi_encoder.contract
    if encoded.shape != (len(passages), contract.dimensions):
        raise ModelError(
            f"{contract.name} gave vectors {encoded.shape} for {len(passages)} passages; "
            f"its contract says {contract.dimensions} dimensions"
        )
    vectors = normalised(encoded)
    if not np.isfinite(vectors).all():
        raise ModelError(f"{contract.name} gave a vector that is zero or not finite")
    return vectors
