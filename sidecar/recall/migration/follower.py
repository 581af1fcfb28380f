"""Copies what a collection has, and then what is written, into a target: a chunk of changes ->
announced in the ledger -> deletions, documents -> the watermark.

Broken off at any point, a chunk is done again from its watermark: documents are read as they are
now, and writing one twice changes nothing. A document that was deleted and came back has a higher
sequence number than its deletion, so it comes after it, again if need be.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from sidecar.errors import InvalidFieldError, MigrationError
from sidecar.recall.collection import Collection, Written
from sidecar.recall.migration.ledger import Ledger
from sidecar.recall.migration.pace import Pace
from sidecar.recall.migration.patience import PATIENCE_SECONDS, patiently
from sidecar.recall.movable import Changes, DocumentChanges
from sidecar.types import Document

SETTLE_SECONDS = 60.0
MOST_DELETIONS = 500
_POSITION = re.compile(r"documents\[(\d+)\]\.?")

T = TypeVar("T")


class Follower:
    """One thread at a time. Raises what the target and the store do.

    `look` is called often, and raises if nobody wants the work any more.
    """

    def __init__(
        self,
        changes: DocumentChanges,
        target: Collection,
        ledger: Ledger,
        pace: Pace,
        look: Callable[[], None],
    ) -> None:
        self._changes = changes
        self._target = target
        self._ledger = ledger
        self._pace = pace
        self._look = look
        self._last_sequence = 0  # of the target's
        # Of deletions up to it none is a stray. Those that come are kept (`step`), so a number of
        # forgotten ones needs one look at all that was sent.
        self._strays_sequence = 0

    @property
    def is_up_to_date(self) -> bool:
        """Whether the target has all that is written."""
        return self._ledger.watermark >= self._changes.sequence

    def catch_up(self) -> None:
        """Until the target has all that was written when this was called, and finds it."""
        upto = self._changes.sequence
        while self._ledger.watermark < upto:
            self.step(self._pace.begin(self._look), PATIENCE_SECONDS)
        self.settle(PATIENCE_SECONDS)

    def settle(self, patience_seconds: float) -> None:
        """Waits until the target finds what it has."""
        end = time.monotonic() + patience_seconds
        self._patiently(self._target.stats, end)  # refreshes an index that does so now and then
        if self._last_sequence:
            wait = functools.partial(
                self._target.wait_searchable, self._last_sequence, SETTLE_SECONDS
            )
            self._patiently(wait, end)

    def step(self, limit: int, patience_seconds: float) -> None:
        """Copies what about `limit` documents are of."""
        after = self._ledger.watermark
        self._changes.keep_deletions(after)
        changes = self._changes.read(after, limit, self._ledger.record.bi_encoder)
        end = time.monotonic() + patience_seconds
        forgotten = self._changes.forgotten_sequence
        if forgotten > max(after, self._strays_sequence):
            self._delete_strays(end)
            self._strays_sequence = forgotten
        self._apply(changes, end)
        self._pace.end(len(changes.documents))

    def _apply(self, changes: Changes, end: float) -> None:
        doc_ids = [document.doc_id for document in changes.documents]
        gone = self._ledger.doc_ids(changes.deleted)
        # Those that are back are written over.
        self._delete([doc_id for doc_id in gone.values() if doc_id not in set(doc_ids)], end)
        if doc_ids:
            self._ledger.announce(changes.ordinals, doc_ids)
            written = self._patiently(lambda: self._upsert(changes.documents), end)
            self._last_sequence = max(self._last_sequence, written.sequence)
        if changes.upto > self._ledger.watermark:
            self._ledger.advance(changes.upto, list(gone))

    def _upsert(self, documents: Sequence[Document]) -> Written:
        try:
            return self._target.upsert(documents)
        except InvalidFieldError as error:
            if not (found := _POSITION.match(error.field)):
                raise
            # The caller knows documents by their ids, not by their place in a chunk of ours.
            doc_id = documents[int(found[1])].doc_id
            field = error.field[found.end() :]
            raise MigrationError(
                f"document {doc_id!r} is not accepted by the backend: {field or 'document'}: "
                f"{error.description}: change or delete it, then ask again"
            ) from error

    def _delete_strays(self, end: float) -> None:
        """What was deleted while nobody followed, and is known by its absence only."""
        for sent in self._ledger.sent():
            self._look()
            gone = sent.keys() - self._changes.stored_ordinals(list(sent))
            back = self._changes.versions([sent[ordinal] for ordinal in gone])
            self._delete([sent[each] for each in gone if sent[each] not in back], end)
            self._ledger.advance(self._ledger.watermark, list(gone))

    def _delete(self, doc_ids: Sequence[str], end: float) -> None:
        for start in range(0, len(doc_ids), MOST_DELETIONS):
            some = doc_ids[start : start + MOST_DELETIONS]
            written = self._patiently(functools.partial(self._target.delete, some), end)
            self._last_sequence = max(self._last_sequence, written.sequence)

    def _patiently(self, call: Callable[[], T], end: float) -> T:
        return patiently(call, end, self._look)
