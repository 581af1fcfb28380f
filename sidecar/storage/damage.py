"""What is said of a document that is damaged on the disk, to its caller and in the log."""

from __future__ import annotations

import logging
from collections.abc import Hashable

from sidecar.errors import DamagedError

# So many are remembered as said; a disk with more of them says some again.
_MOST_SAID = 10_000

_log = logging.getLogger(__name__)


def damage_of(doc_id: str, what: str = "") -> DamagedError:
    """The error for whoever asks for a document that cannot be read (`what`: its vector, say)."""
    return DamagedError(
        f"{what}document {doc_id!r} is damaged on the disk: write it again, or delete it",
        doc_id=doc_id,
    )


class DamageLog:
    """Says what is left out because it is damaged, once for each row."""

    def __init__(self) -> None:
        self._said: set[Hashable] = set()

    def say(self, row: Hashable, error: DamagedError) -> None:
        """`row` tells this row, as it was written, from others."""
        if row not in self._said:
            if len(self._said) >= _MOST_SAID:
                self._said.clear()
            self._said.add(row)
            _log.error("left out of answers and indexes: %s", error.message)
