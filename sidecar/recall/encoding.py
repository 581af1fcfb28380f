"""Passages of documents, and their vectors by the collection's bi-encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sidecar.errors import ModelError
from sidecar.models.base import BiEncoder
from sidecar.recall.vectors import check_vector, normalised
from sidecar.storage.documents import BiEncoderIdentity, DocumentStore, Vector
from sidecar.types import Document, to_passage

CHUNK_DOCUMENTS = 256


def identity_of(bi_encoder: BiEncoder) -> BiEncoderIdentity:
    """What tells the vectors of one model and revision from those of another."""
    contract = bi_encoder.contract
    return BiEncoderIdentity(contract.name, contract.revision, contract.dimensions)


class PassageEncoder:
    """Encodes only if the configured bi-encoder is the one that the collection's vectors are of.

    Otherwise documents are stored without a vector, and encoded once that bi-encoder is back.
    """

    def __init__(self, store: DocumentStore, bi_encoder: BiEncoder | None) -> None:
        """A collection that was created without a bi-encoder takes the first one configured."""
        if bi_encoder is not None and store.header.bi_encoder is None:
            store.adopt(identity_of(bi_encoder))
        self._store = store
        self._bi_encoder = bi_encoder

    @property
    def is_configured(self) -> bool:
        """Whether there is a bi-encoder at all."""
        return self._bi_encoder is not None

    @property
    def fault(self) -> str:
        """Why nothing can be encoded or compared; empty if it can."""
        if self._bi_encoder is None:
            return "no bi-encoder is configured"
        theirs, ours = self._store.header.bi_encoder, identity_of(self._bi_encoder)
        if theirs == ours:
            return ""
        return (
            f"the collection's vectors are of {_named(theirs)}, the configured bi-encoder is "
            f"{_named(ours)}: configure the former, or index the documents into a new collection"
        )

    def passage(self, fields: Mapping[str, str]) -> str:
        """What models read of a document: its text fields in the order of the schema."""
        text_fields = self._store.header.schema.text_fields
        return to_passage([fields.get(field.name, "") for field in text_fields])

    def vectors_of(self, documents: Sequence[Document]) -> list[Vector | None]:
        """Unit vectors: the caller's, and for documents without one those of the bi-encoder.

        Raises InvalidFieldError for a caller's vector, ModelError for the bi-encoder's.
        """
        vectors = [
            self._own_vector(document, f"documents[{position}].vector")
            for position, document in enumerate(documents)
        ]
        missing = [position for position, vector in enumerate(vectors) if vector is None]
        if missing and not self.fault:
            encoded = self._encode([documents[position].fields for position in missing])
            for position, vector in zip(missing, encoded, strict=True):
                vectors[position] = vector
        return vectors

    def complete(self) -> bool:
        """Encodes some of the documents that have no vector; returns whether any are left."""
        bare = self._store.without_vector(CHUNK_DOCUMENTS)
        if bare:
            vectors = self._encode([each.fields for each in bare])
            self._store.add_vectors([(each.ordinal, each.sequence) for each in bare], vectors)
        return len(bare) == CHUNK_DOCUMENTS

    def _own_vector(self, document: Document, path: str) -> Vector | None:
        identity = self._store.header.bi_encoder
        if identity is None or document.vector is None or len(document.vector) == 0:
            return None
        return check_vector(document.vector, identity.dimensions, path)

    def _encode(self, fields: Sequence[Mapping[str, str]]) -> npt.NDArray[np.float32]:
        """Unit vectors (documents, dimensions). Raises ModelError for what cannot be one."""
        assert self._bi_encoder is not None
        encoded = self._bi_encoder.encode_passages([self.passage(each) for each in fields])
        contract = self._bi_encoder.contract
        if encoded.shape != (len(fields), contract.dimensions):
            raise ModelError(
                f"{contract.name} gave vectors {encoded.shape} for {len(fields)} passages; "
                f"its contract says {contract.dimensions} dimensions"
            )
        vectors = normalised(encoded)
        if not np.isfinite(vectors).all():
            raise ModelError(f"{contract.name} gave a vector that is zero or not finite")
        return vectors


def _named(identity: BiEncoderIdentity | None) -> str:
    assert identity is not None
    return f"{identity.name} at revision {identity.revision}"
