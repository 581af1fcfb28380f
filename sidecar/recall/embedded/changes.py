"""What a follower reads of a collection in a folder of the server's own (recall/movable.py)."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.recall.embedded.derived import DerivedIndexes
from sidecar.recall.movable import Changes
from sidecar.storage.documents import DocumentStore
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.storage.text_changes import TextChange
from sidecar.types import Document

MOST_CHARACTERS = 4_000_000
MOST_IDS = 1_000


class StoreChanges:
    """See DocumentChanges."""

    def __init__(self, store: DocumentStore, derived: DerivedIndexes) -> None:
        self._store = store
        self._derived = derived

    @property
    def sequence(self) -> int:
        """See DocumentChanges."""
        return self._store.sequence

    @property
    def count(self) -> int:
        """See DocumentChanges."""
        return int(self._store.count)

    @property
    def identity(self) -> BiEncoderIdentity | None:
        """See DocumentChanges."""
        return self._store.leading.bi_encoder if self._store.leading else None

    @property
    def forgotten_sequence(self) -> int:
        """See DocumentChanges."""
        return self._store.pruned_sequence()

    def keep_deletions(self, after: int | None) -> None:
        """See DocumentChanges."""
        self._derived.followed_sequence = after

    def read(self, after: int, limit: int, identity: BiEncoderIdentity | None) -> Changes:
        """See DocumentChanges."""
        found = self._store.text_changes(after, limit, MOST_CHARACTERS)
        doc_ids = self._store.doc_ids([change.ordinal for change in found.written])
        vectors = self._store.vectors(list(doc_ids.values()), identity) if identity else {}
        # Those without an id were deleted since.
        written = [change for change in found.written if change.ordinal in doc_ids]

        def to_document(change: TextChange) -> Document:
            doc_id = doc_ids[change.ordinal]
            vector = vectors.get(doc_id)
            values = None if vector is None else vector.tolist()
            return Document(doc_id, change.fields, change.attributes, values, change.sequence)

        return Changes(
            found.upto,
            [to_document(change) for change in written],
            [change.ordinal for change in written],
            found.deleted,
        )

    def stored_ordinals(self, ordinals: Sequence[int]) -> set[int]:
        """See DocumentChanges."""
        return set(self._store.doc_ids(ordinals))

    def versions(self, doc_ids: Sequence[str]) -> dict[str, int]:
        """See DocumentChanges."""
        found: dict[str, int] = {}
        # Some at a time: while one reads, the write-ahead log is not folded.
        for start in range(0, len(doc_ids), MOST_IDS):
            found |= self._store.sequences_of(doc_ids[start : start + MOST_IDS])
        return found
