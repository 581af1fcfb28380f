"""Ids of documents that live, by ordinal, so that a search need not ask the database for them.

An ordinal is never given to another document, so an id is right for as long as its document lives.
A write forgets the ids that it names, once it is committed and before it is acknowledged.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping, Sequence

# For about 150,000 ids of 20 characters.
MAX_BYTES = 32 * 1024 * 1024
# What an entry takes besides its id: an ordinal, and slots in two dictionaries.
ENTRY_BYTES = 150


class RememberedIds:
    """At most `max_bytes`. May be used from several threads.

    What was asked for of late is in the young half. Once that is full it becomes the old one, and
    what was in the old one is forgotten, all at once.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._half_bytes = max_bytes // 2
        self._lock = threading.Lock()
        self._young, self._old = _Half(), _Half()
        self._forgettings = 0

    def __len__(self) -> int:
        return len(self._young.ids) + len(self._old.ids)

    @property
    def bytes(self) -> int:
        """Memory that they take, about."""
        return self._young.bytes + self._old.bytes

    def find(self, ordinals: Sequence[int]) -> tuple[dict[int, str], int]:
        """Those that are remembered, by ordinal, and of which state that is: see `keep`."""
        with self._lock:
            young = self._young.ids
            found = {ordinal: young[ordinal] for ordinal in ordinals if ordinal in young}
            if len(found) < len(ordinals) and self._old.ids:
                found |= self._renewed(ordinals)
            return found, self._forgettings

    def keep(self, ids: Mapping[int, str], state: int) -> bool:
        """Remembers what the database had, read after `find` told of a state.

        False, and nothing is remembered, if something was forgotten since, or is about to be: what
        was found before and what was read after may be of different states.
        """
        with self._lock:
            if self._forgettings != state or any(map(self._contradicts, ids.items())):
                return False
            for ordinal, doc_id in ids.items():
                self._put(ordinal, doc_id)
            return True

    def forget(self, doc_ids: Iterable[str]) -> None:
        """After a write of these was committed."""
        with self._lock:
            self._forgettings += 1
            for doc_id in doc_ids:
                self._young.drop(doc_id)
                self._old.drop(doc_id)

    def clear(self) -> None:
        """After it was not known what was committed."""
        with self._lock:
            self._forgettings += 1
            self._young, self._old = _Half(), _Half()

    def _renewed(self, ordinals: Sequence[int]) -> dict[int, str]:
        """Those of the old half, from now on in the young one."""
        old = self._old
        found = {ordinal: old.ids[ordinal] for ordinal in ordinals if ordinal in old.ids}
        for ordinal, doc_id in found.items():
            self._put(ordinal, doc_id)
        return found

    def _contradicts(self, entry: tuple[int, str]) -> bool:
        """Whether a document of that id is remembered that was deleted before it was written."""
        ordinal, doc_id = entry
        known = (half.ordinals.get(doc_id, ordinal) for half in (self._young, self._old))
        return any(other != ordinal for other in known)

    def _put(self, ordinal: int, doc_id: str) -> None:
        if doc_id in self._young.ordinals:
            return
        self._old.drop(doc_id)
        if self._young.bytes + _bytes_of(doc_id) > self._half_bytes:
            self._young, self._old = _Half(), self._young
        if _bytes_of(doc_id) <= self._half_bytes:
            self._young.put(ordinal, doc_id)


class _Half:
    """Ids by ordinal, and back."""

    def __init__(self) -> None:
        self.ids: dict[int, str] = {}
        self.ordinals: dict[str, int] = {}
        self.bytes = 0

    def put(self, ordinal: int, doc_id: str) -> None:
        """One that it does not have."""
        self.ids[ordinal] = doc_id
        self.ordinals[doc_id] = ordinal
        self.bytes += _bytes_of(doc_id)

    def drop(self, doc_id: str) -> None:
        """If it has it."""
        ordinal = self.ordinals.pop(doc_id, None)
        if ordinal is not None:
            del self.ids[ordinal]
            self.bytes -= _bytes_of(doc_id)


def _bytes_of(doc_id: str) -> int:
    return sys.getsizeof(doc_id) + ENTRY_BYTES
