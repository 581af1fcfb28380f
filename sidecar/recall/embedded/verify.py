"""Verify: all that a collection keeps, compared with its documents while it serves.

Each index is read between two looks at the documents (see comparing.py), so writes go on.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sidecar.config import DenseIndexConfig
from sidecar.errors import StorageError
from sidecar.recall.embedded.comparing import (
    VECTOR_TOLERANCE,
    Look,
    dense_findings,
    lexical_findings,
    vector_findings,
)
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.recall.embedded.derived import DerivedIndexes
from sidecar.recall.embedded.generation import (
    VECTOR_CHUNK_DOCUMENTS,
    Generation,
    dense_folder,
)
from sidecar.recall.embedded.lexical import LexicalIndex, UnopenedLexicalIndex
from sidecar.recall.embedded.opening import check_not_ahead
from sidecar.storage.documents import DocumentStore
from sidecar.storage.progress import Progress
from sidecar.storage.stored_generations import StoredGeneration

CATCH_UP_SECONDS = 600.0
_TOLD_SECONDS = 1.0
_FILE_LOOKS = 20


def verify_indexes(
    folder: Path,
    store: DocumentStore,
    derived: DerivedIndexes,
    config: DenseIndexConfig,
    progress: Progress,
) -> list[str]:
    """Findings, none if all is well."""
    findings = or_finding(lambda: store.check_integrity(progress))
    if unopened := derived.unopened():
        return [*findings, *unopened]
    findings += or_finding(lambda: _verify_lexical(store, derived, progress))
    for stored in store.generations.values():
        at_hand = derived.generations.get(stored.bi_encoder)
        if at_hand is None:
            verify = functools.partial(_verify_away, folder, store, derived, stored, config)
        else:
            verify = functools.partial(_verify_at_hand, derived, stored, at_hand)
        found = or_finding(functools.partial(verify, progress))
        if stored.bi_encoder in store.generations:  # else it was dropped meanwhile
            findings += found
    return findings


def or_finding(check: Callable[[], list[str]]) -> list[str]:
    """What a check finds, or what keeps it from that."""
    try:
        return check()
    except StorageError as error:
        return [error.message]
    except (ValueError, TypeError) as error:  # a flipped bit makes another type of a number
        return [f"a row of the database cannot be read: {error}"]


def _verify_lexical(store: DocumentStore, derived: DerivedIndexes, progress: Progress) -> list[str]:
    before = store.versions()

    def watermark() -> int:
        return derived.lexical.watermark

    if lag := _lag("the lexical index", derived, watermark, before.sequence, progress):
        return [lag]
    lexical = derived.lexical
    if isinstance(lexical, UnopenedLexicalIndex):
        return []
    progress("compares the lexical index", 0, len(before.rows))
    findings = check_files(lexical)
    entries = lexical.entries()
    return [*findings, *lexical_findings(before, entries, store.versions())]


def check_files(lexical: LexicalIndex) -> list[str]:
    """What is wrong with its files. Some may go while they are looked at, since others took their
    place: only what is found again and again counts."""
    found: set[str] | None = None
    for _ in range(_FILE_LOOKS):
        try:
            again = set(lexical.check())
        except StorageError as error:
            again = {error.message}
        found = again if found is None else found & again
        if not found:
            break
    return sorted(found or ())


def _verify_at_hand(
    derived: DerivedIndexes, stored: StoredGeneration, generation: Generation, progress: Progress
) -> list[str]:
    if not generation.is_served:
        return []
    before = stored.encoded()

    def watermark() -> int:
        return generation.dense.watermark

    if lag := _lag(_name(stored), derived, watermark, last_number(before), progress):
        return [lag]
    return compare_dense(stored, generation.dense, before, progress)


def _verify_away(
    folder: Path,
    store: DocumentStore,
    derived: DerivedIndexes,
    stored: StoredGeneration,
    config: DenseIndexConfig,
    progress: Progress,
) -> list[str]:
    """Of a generation whose bi-encoder is not at hand, the snapshot, brought up to date here."""
    try:
        before = stored.encoded()
        index = open_snapshot(dense_folder(folder, stored), store, stored, config)
        return [] if index is None else compare_snapshot(index, stored, before, progress)
    except StorageError as error:
        if derived.generations.get(stored.bi_encoder) is not None:
            return []  # it came to hand meanwhile, and is changed by others
        mended = "could not be used and is built anew once its bi-encoder is at hand"
        return [f"{_name(stored)} {mended}: {error.message}"]


def open_snapshot(
    folder: Path, store: DocumentStore, stored: StoredGeneration, config: DenseIndexConfig
) -> DenseIndex | None:
    """An index as it is on the disk, which is left as it is; None for one that is built anew before
    it is used, since deletions that it does not have are forgotten. Raises DamagedError,
    StorageError."""
    index = DenseIndex.open(folder, store.header.collection_id, stored.bi_encoder, config)
    check_not_ahead(index.watermark, store.number, store, _name(stored))
    return index if index.watermark >= store.pruned_sequence() or not index.count else None


def compare_snapshot(
    index: DenseIndex, stored: StoredGeneration, before: Look, progress: Progress
) -> list[str]:
    """Brings an index that nobody uses up to date, in memory, and compares it."""
    while index.watermark < last_number(before):
        progress("brings an index up to date", index.watermark, last_number(before))
        changes = stored.changes(index.watermark, VECTOR_CHUNK_DOCUMENTS)
        index.apply(changes, stored.bi_encoder)
    return compare_dense(stored, index, before, progress)


def compare_dense(
    stored: StoredGeneration, dense: DenseIndex, before: Look, progress: Progress
) -> list[str]:
    """Findings on an index that has all that `before` saw."""
    differing, done, onwards = [np.empty((0, 2), np.int64)], 0, 1
    while onwards:
        progress("compares vectors", done, max(done, len(before[1])))
        onwards, numbers, vectors = stored.vectors_from(onwards, VECTOR_CHUNK_DOCUMENTS)
        held, found = dense.copy(numbers[:, 0])
        places = np.searchsorted(numbers[:, 0], held)
        off = np.abs(found - vectors[places]).max(axis=1, initial=0.0) > VECTOR_TOLERANCE
        differing.append(numbers[places][off])
        done += len(numbers)
    held, after = dense.ordinals(), stored.encoded()
    return [
        *dense_findings(_name(stored), before, held, after),
        *vector_findings(_name(stored), before, np.concatenate(differing), after),
    ]


def _lag(
    what: str,
    derived: DerivedIndexes,
    watermark: Callable[[], int],
    wanted: int,
    progress: Progress,
) -> str:
    """Waits until an index has the writes up to a number; what keeps it from that, in words."""
    end = time.monotonic() + CATCH_UP_SECONDS
    while True:
        began = time.monotonic()
        if derived.wait_until(lambda: watermark() >= wanted, _TOLD_SECONDS):
            return ""
        ended = time.monotonic()
        if ended >= end or ended < began + _TOLD_SECONDS / 2:
            state = derived.failure or ("still indexing" if ended >= end else "it was closed")
            return f"{what} has writes up to {watermark()}, not up to {wanted}: {state}"
        progress(f"waits for {what}", watermark(), wanted)


def _name(stored: StoredGeneration) -> str:
    return f"the dense index of {stored.bi_encoder}"


def last_number(look: Look) -> int:
    """Of the last write that a look at a generation saw."""
    documents, encoded = look
    return max(documents.sequence, int(encoded[:, 1].max(initial=0)))
