"""A few documents in a store, with vectors that say nothing."""

from __future__ import annotations

import numpy as np
from recalling import SCHEMA

from sidecar.storage.documents import DocumentStore
from sidecar.storage.headers import Header
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Document

HEADER = Header("id-1", "things", SCHEMA)
MODEL = BiEncoderIdentity("m", "r", 4)
UNIT = np.array([1, 0, 0, 0], np.float32)


def write(store: DocumentStore, *documents: Document) -> int:
    return store.write(documents, [UNIT] * len(documents), MODEL)


def ordinal_of(store: DocumentStore, doc_id: str) -> int:
    (ordinal,) = [o for o in store.sequences() if store.doc_ids([o]) == {o: doc_id}]
    return ordinal
