"""A writer that does not cease, and remembers what was acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from recalling import a_document

from sidecar.recall.collection import Collection

IDS = [f"d{n:04}" for n in range(60)]


class SteadyWriter(threading.Thread):
    """Writes and deletes until it is told to end; `acknowledged` are (sequence, doc_id, text), the
    text None for a deletion."""

    def __init__(self, collection: Collection) -> None:
        super().__init__()
        self.acknowledged: list[tuple[int, str, str | None]] = []
        self.ending = threading.Event()
        self._collection = collection

    def run(self) -> None:
        rng = np.random.default_rng(7)
        for number in range(1_000_000):
            if self.ending.is_set():
                return
            chosen = [int(n) for n in rng.choice(len(IDS), size=4, replace=False)]
            if rng.random() < 0.3:
                self._drop(IDS[chosen[0]])
            else:
                self._put(chosen, f"v{number}")

    def _drop(self, doc_id: str) -> None:
        written = self._collection.delete([doc_id])
        if written.count:
            self.acknowledged.append((written.sequence, doc_id, None))

    def _put(self, chosen: Sequence[int], text: str) -> None:
        written = self._collection.upsert([a_document(n, text) for n in chosen])
        first = written.sequence - len(chosen) + 1
        for place, n in enumerate(chosen):
            self.acknowledged.append((first + place, IDS[n], text))

    def replayed(self, upto: int) -> dict[str, str]:
        """What was stored after the write of that number."""
        held: dict[str, str] = {}
        for sequence, doc_id, text in self.acknowledged:
            if sequence <= upto:
                held.pop(doc_id, None)
                if text is not None:
                    held[doc_id] = text
        return held
