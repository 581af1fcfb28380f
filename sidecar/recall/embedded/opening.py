"""How an index that is derived from a collection's documents comes up.

It is opened as it is; or what there is of it cannot be used, is set aside, and it is built anew.
Or it knows of later writes than the documents do: these have lost them, which is said, and it is
built anew all the same, so that both agree. Or the disk does not give it now (too many open files,
no permission, a read that failed), which says nothing about it: then StorageError is raised, the
files are left as they are, and it is tried again later.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from sidecar.config import DenseIndexConfig
from sidecar.errors import DamagedError
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.recall.embedded.lexical import LexicalIndex, open_lexical
from sidecar.storage.documents import DocumentStore
from sidecar.storage.files import set_aside
from sidecar.storage.stored_generations import StoredGeneration

LEXICAL_FOLDER = "lexical"

_log = logging.getLogger(__name__)


def open_lexical_index(folder: Path, store: DocumentStore) -> tuple[LexicalIndex, str]:
    """The lexical index of a collection's folder, to be caught up with, and what was wrong with the
    one that was there, in words.

    Raises StorageError if it cannot be told now whether it can be used.
    """
    folder = folder / LEXICAL_FOLDER
    try:
        with contextlib.ExitStack() as opened:
            index = open_lexical(folder, store.header)
            opened.callback(index.close)
            check_catches_up(index, store)
            opened.pop_all()
            return index, ""
    except DamagedError as error:
        repair = _set_aside(folder, "the lexical index", error)
    return open_lexical(folder, store.header), repair


def check_catches_up(index: LexicalIndex, store: DocumentStore) -> None:
    """Raises DamagedError for an index that cannot be brought up to date with the documents."""
    check_not_ahead(index.watermark, store.sequence, store, "the lexical index")
    pruned = store.pruned_sequence()
    if index.count and index.watermark < pruned:
        raise DamagedError(
            f"its watermark is {index.watermark}, deletions up to {pruned} are forgotten"
        )


def open_dense_index(
    folder: Path, store: DocumentStore, stored: StoredGeneration, config: DenseIndexConfig
) -> tuple[DenseIndex, str]:
    """The index of a generation, likewise; `folder` is its own.

    One that was away for longer than deletions are remembered is built anew, which is nothing
    wrong.
    """
    try:
        index = DenseIndex.open(folder, store.header.collection_id, stored.bi_encoder, config)
        check_not_ahead(index.watermark, store.number, store, "the dense index")
        if index.watermark >= store.pruned_sequence() or index.count == 0:
            return index, ""
        _log.info("%s is older than what is known of deletions, and is built anew", folder)
        repair = ""
    except DamagedError as error:
        repair = _set_aside(folder, "the dense index", error)
    return DenseIndex.empty(stored.bi_encoder, config), repair


class _LostWritesError(DamagedError):
    """The documents, not the index, are what is damaged."""


def check_not_ahead(watermark: int, known: int, store: DocumentStore, what: str) -> None:
    """Raises DamagedError for an index with writes that the documents have not."""
    if watermark > known:
        raise _LostWritesError(
            f"the documents of collection {store.header.name!r} have lost acknowledged writes: "
            f"{what} had all up to number {watermark}, {store.path} ends at {known}. Restore a "
            "newer backup, or write again what was written and deleted last"
        )


def _set_aside(folder: Path, what: str, error: DamagedError) -> str:
    """What was done, in words. Raises StorageError."""
    aside = set_aside(folder)
    if isinstance(error, _LostWritesError):
        loss = f"{error.message}; {what} is built anew without them, the old one is kept as {aside}"
        _log.error("%s", loss)
        return loss
    repair = (
        f"{what} could not be used and is built anew from the documents, the old one is kept as "
        f"{aside}: {error.message}"
    )
    _log.warning("%s", repair)
    return repair
