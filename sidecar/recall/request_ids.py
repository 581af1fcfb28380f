"""What tells a write that is sent again from another one: a digest of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np

from sidecar.storage.rows import to_json
from sidecar.types import Document


def digest_of_upsert(
    documents: Sequence[Document], expected_versions: Sequence[int | None] = ()
) -> bytes:
    """Of documents in their order, whatever the order of their fields and attributes."""
    versions = expected_versions or repeat(None)
    parts = (
        part
        for document, version in zip(documents, versions, strict=False)
        for part in (*_parts_of(document), str(version).encode())
    )
    return _digest(b"upsert", parts)


def digest_of_deletion(doc_ids: Sequence[str], expected_versions: Sequence[int] = ()) -> bytes:
    """Of ids in their order."""
    parts = [
        ",".join(map(str, expected_versions)).encode(),
        *(doc_id.encode() for doc_id in doc_ids),
    ]
    return _digest(b"delete", parts)


def _parts_of(document: Document) -> Iterable[bytes]:
    vector = () if document.vector is None else document.vector
    return (
        document.doc_id.encode(),
        to_json(dict(sorted(document.fields.items()))).encode(),
        to_json(dict(sorted(document.attributes.items()))).encode(),
        np.asarray(vector, dtype="<f8").tobytes(),
    )


def _digest(kind: bytes, parts: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256(kind)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
