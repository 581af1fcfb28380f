"""Verify: what all indexes hold, compared with the documents they are derived from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sidecar.config import DenseIndexConfig
from sidecar.errors import StorageError
from sidecar.recall.embedded.dense import DenseIndex
from sidecar.recall.embedded.derived import DerivedIndexes
from sidecar.recall.embedded.generation import VECTOR_CHUNK_DOCUMENTS, dense_folder
from sidecar.recall.embedded.lexical import LexicalIndex, UnopenedLexicalIndex
from sidecar.recall.embedded.opening import open_dense_index
from sidecar.storage.documents import DocumentStore
from sidecar.storage.stored_generations import StoredGeneration

CATCH_UP_SECONDS = 600.0
# float16 keeps 11 bits: a value of a unit vector is off by at most 2**-12.
VECTOR_TOLERANCE = 5e-4
_SHOWN = 5


def verify_indexes(
    folder: Path, store: DocumentStore, derived: DerivedIndexes, config: DenseIndexConfig
) -> list[str]:
    """Findings, none if all is well. The caller keeps writes away."""
    findings = store.check_integrity()
    if unopened := derived.unopened():
        return [*findings, *unopened]
    if not derived.wait_searchable(store.sequence, CATCH_UP_SECONDS):
        findings.append(
            f"the indexes have writes up to {derived.searchable_sequence}, the documents up to "
            f"{store.sequence}: {derived.failure or 'still indexing'}"
        )
        return findings
    with derived.encoding.paused():
        derived.wait_indexed(CATCH_UP_SECONDS)
        if not isinstance(derived.lexical, UnopenedLexicalIndex):
            findings += _verify_lexical(store, derived.lexical)
        for stored in store.generations.values():
            at_hand = derived.generations.get(stored.bi_encoder)
            if at_hand is None:
                findings += _verify_away(folder, store, stored, config)
            elif at_hand.is_served:
                findings += _verify_dense(stored, at_hand.dense)
    return findings


def _verify_lexical(store: DocumentStore, lexical: LexicalIndex) -> list[str]:
    findings = lexical.check()
    wanted, found = store.sequences(), lexical.sequences()
    findings += _difference("the lexical index", wanted, found)
    if lexical.count != len(found):
        findings.append(
            f"the lexical index has {lexical.count} entries, {len(found)} different ones"
        )
    old = [ordinal for ordinal in found if ordinal in wanted and found[ordinal] != wanted[ordinal]]
    if old:
        findings.append(f"the lexical index has older versions of documents {_some(old)}")
    return findings


def _verify_away(
    folder: Path, store: DocumentStore, stored: StoredGeneration, config: DenseIndexConfig
) -> list[str]:
    """Of a generation whose bi-encoder is not at hand, the snapshot, brought up to date here."""
    try:
        index, repair = open_dense_index(dense_folder(folder, stored), store, stored, config)
    except StorageError as error:
        return [f"the dense index of {stored.bi_encoder} cannot be opened: {error.message}"]
    while index.watermark < stored.last_number:
        changes = stored.changes(index.watermark, VECTOR_CHUNK_DOCUMENTS)
        index.apply(changes, stored.bi_encoder)
    findings = _verify_dense(stored, index)
    return [repair, *findings] if repair else findings


def _verify_dense(stored: StoredGeneration, dense: DenseIndex) -> list[str]:
    where = f"the dense index of {stored.bi_encoder}"
    held = dense.ordinals()
    findings = []
    repeated = held[1:][held[1:] == held[:-1]]
    if len(repeated):
        findings.append(f"{where} has several vectors of documents {_some(repeated)}")
    wanted: set[int] = set()
    after = 0
    while after < stored.last_number:
        changes = stored.changes(after, VECTOR_CHUNK_DOCUMENTS)
        after = changes.upto
        wanted.update(changes.ordinals.tolist())
        present = np.isin(changes.ordinals, held)
        vectors = dense.vectors(changes.ordinals[present])
        differ = np.abs(vectors - changes.vectors[present]).max(axis=1, initial=0.0)
        wrong = changes.ordinals[present][differ > VECTOR_TOLERANCE]
        if len(wrong):
            findings.append(f"{where} has other vectors of documents {_some(wrong)}")
    return findings + _difference(where, wanted, set(held.tolist()))


def _difference(where: str, wanted: Iterable[int], found: Iterable[int]) -> list[str]:
    missing, surplus = set(wanted) - set(found), set(found) - set(wanted)
    findings = []
    if missing:
        findings.append(f"{where} lacks documents {_some(missing)}")
    if surplus:
        findings.append(f"{where} has documents that are not stored: {_some(surplus)}")
    return findings


def _some(ordinals: Iterable[int]) -> str:
    ordered = sorted(int(ordinal) for ordinal in ordinals)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return "with ordinal " + ", ".join(str(ordinal) for ordinal in ordered[:_SHOWN]) + more
