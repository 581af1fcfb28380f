"""Verify: what both indexes hold, compared with the documents they are derived from."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sidecar.recall.dense import DenseIndex
from sidecar.recall.derived import DerivedIndexes
from sidecar.recall.lexical import LexicalIndex
from sidecar.storage.documents import DocumentStore

CATCH_UP_SECONDS = 600.0
# float16 keeps 11 bits: a value of a unit vector is off by at most 2**-12.
VECTOR_TOLERANCE = 5e-4
_CHUNK_DOCUMENTS = 10_000
_SHOWN = 5


def verify_indexes(store: DocumentStore, derived: DerivedIndexes) -> list[str]:
    """Findings, none if all is well. The caller keeps writes away."""
    findings = store.check_integrity()
    if not derived.wait_searchable(store.sequence, CATCH_UP_SECONDS):
        findings.append(
            f"the indexes have writes up to {derived.searchable_sequence}, the documents up to "
            f"{store.sequence}: {derived.failure or 'still indexing'}"
        )
        return findings
    findings += _verify_lexical(store, derived.lexical)
    if derived.dense is not None:
        findings += _verify_dense(store, derived.dense)
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
    # Adding vectors renumbers a document without touching its text; the text index follows all the
    # same, so a difference in number is a missed write.
    if old:
        findings.append(f"the lexical index has older versions of documents {_some(old)}")
    return findings


def _verify_dense(store: DocumentStore, dense: DenseIndex) -> list[str]:
    held = dense.ordinals()
    findings = []
    repeated = held[1:][held[1:] == held[:-1]]
    if len(repeated):
        findings.append(f"the dense index has several vectors of documents {_some(repeated)}")
    wanted: set[int] = set()
    after = 0
    while after < store.sequence:
        changes = store.vector_changes(after, _CHUNK_DOCUMENTS, dense.bi_encoder.dimensions)
        after = changes.upto
        wanted.update(changes.ordinals.tolist())
        present = np.isin(changes.ordinals, held)
        vectors = dense.vectors(changes.ordinals[present])
        differ = np.abs(vectors - changes.vectors[present]).max(axis=1, initial=0.0)
        wrong = changes.ordinals[present][differ > VECTOR_TOLERANCE]
        if len(wrong):
            findings.append(f"the dense index has other vectors of documents {_some(wrong)}")
    return findings + _difference("the dense index", wanted, set(held.tolist()))


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
